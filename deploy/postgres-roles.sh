# Run once, when the data are made: task-service's role, which owns its database and is no superuser, so that row-level security
# binds it. The superuser has no password from then on: it comes in by the socket alone, inside of the container.
psql --set=ON_ERROR_STOP=1 --set=password="$POSTGRES_PASSWORD" --username=postgres <<'SQL'
create role tasks login password :'password';
alter database tasks owner to tasks;
alter role postgres password null;
SQL
