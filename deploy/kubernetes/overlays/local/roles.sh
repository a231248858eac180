# Run once, when the data directory is made: task-service gets a database and a role of its own, which is no superuser.
psql --set=ON_ERROR_STOP=1 --set=password="$(cat /run/secrets/postgres/tasks-password)" --username=postgres <<'SQL'
create role tasks login password :'password';
create database tasks owner tasks encoding 'UTF8' template template0;
SQL
