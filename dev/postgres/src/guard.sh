# Keeps a server on a leash: standard input. When it closes, however its holder ended, the server stops.
# Called with the folder to remove afterwards (or nothing) and the server's command line.
#
# Signals go to the guard's own process group (0), never to a process by its number: the group's number can't
# belong to anybody else for as long as one of us lives, so nothing is ever hit by mistake. The server's own
# children lead sessions of their own and are its affair.
folder=$1
shift
trap '' INT QUIT
exec 3<&0 </dev/null

"$@" 3<&- &
server=$!

# INT is a fast shutdown, QUIT an immediate one. INT is repeated, for a server so young that it doesn't listen yet.
# Ends with the server, also when the guard itself was killed; and doesn't hold the server's log, by which the next
# start knows that the server is gone.
{
    cat
    for second in 1 2 3 4 5 6 7 8 9 10; do
        kill -INT 0
        sleep 1
        kill -0 "$server" || exit
    done
    kill -QUIT 0
    sleep 10
    kill -KILL 0
} <&3 3<&- >/dev/null 2>&1 &
exec 3<&-

wait "$server"
status=$?
trap '' TERM
kill -TERM 0
[ -z "$folder" ] || rm -rf "$folder"
exit "$status"
