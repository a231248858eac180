//! Are Better Auth's tables there, called and written as the settings say, and may we read them?

use chassis::outbound::database::{ConnectError, is_distrust};
use tokio_postgres::error::SqlState;

use super::{Doctor, Finding, Report, clock};
use crate::{
    better_auth::database::tables::{Columns, Model, Reads, Tables},
    diagnostics::catalog::{Catalog, Column},
    settings::{DATABASE, Plan},
};

const NAME: &str = "tables";

/// Looks around in the database, if anything is read there; gives the connection to others who have a question.
pub(super) async fn check(doctor: &Doctor<'_>, report: &mut Report) -> Option<Catalog> {
    let plan = doctor.plan;
    let (reads, tables) = (plan.reads, &plan.tables);
    let Some(config) = &plan.database else {
        if plan.settings.database.url.is_some() {
            report.add(
                NAME,
                [Finding::warning(
                    "AUTH_VERIFIER_DATABASE__URL is set, but nothing that is set reads from there.".to_owned(),
                    "Set AUTH_VERIFIER_SESSION__LOOKUP=database (and BETTER_AUTH_SECRET) to look sessions up there.".to_owned(),
                )],
            );
        }
        return None;
    };
    let catalog = match Catalog::open(config).await {
        Ok(catalog) => catalog,
        Err(error) => {
            report.add("database", [Finding::bad(format!("It can't be reached: {error}."), advice(&error))]);
            return None;
        }
    };
    report.add("database", [Finding::Good("It is there, and lets us in.".to_owned())]);
    if let Ok(ahead_secs) = catalog.clock_ahead_secs().await {
        report.add("clock", [clock::judge("The database's", ahead_secs, plan.settings.leeway)]);
    }
    if let Err(error) = catalog.time_zone().await {
        let set = "Set AUTH_VERIFIER_TABLES__TIME_ZONE to the name of a time zone, such as UTC.";
        report.add(NAME, [Finding::bad(format!("The time zone is none: {error}."), set.to_owned())]);
        return Some(catalog);
    }
    let findings = match catalog.columns(tables.schema().text()).await {
        Ok(columns) => judge(&columns, tables, plan, reads),
        Err(error) => {
            let set = "The statements are tried as they are.".to_owned();
            vec![Finding::warning(format!("What tables there are can't be seen: {error}."), set)]
        }
    };
    let explained = findings.iter().any(|finding| matches!(finding, Finding::Bad { .. }));
    report.add(NAME, findings);
    if !explained {
        report.add(
            NAME,
            [match catalog.ask(tables, reads).await {
                Ok(()) => Finding::Good("Everything that is asked of the tables has an answer.".to_owned()),
                Err((model, error)) => Finding::bad(
                    format!("A question about {} has no answer: {error}.", tables.table(model)),
                    "Compare AUTH_VERIFIER_TABLES__* with the tables.".to_owned(),
                ),
            }],
        );
    }
    Some(catalog)
}

/// What to do about a database that can't be reached.
fn advice(error: &ConnectError) -> String {
    let url = DATABASE.url;
    let ConnectError::Refused(error) = error else {
        return format!(
            "Set {url} to where it is, as seen from here; a database that sleeps may need longer: AUTH_VERIFIER_DATABASE__CONNECT_MS."
        );
    };
    match error.code() {
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            format!(
                "Set user and password in {url} (`auth-verifier grants` prints the SQL for a role of its own)."
            )
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => format!("Set the database's name in {url}."),
        _ if is_distrust(error) => {
            "Set AUTH_VERIFIER_DATABASE__CA_FILE to the certificate that vouches for it.".to_owned()
        }
        _ => format!("Set {url} to where it is, as seen from here."),
    }
}

/// The variable that a table's name is set by.
fn variable(model: Model) -> &'static str {
    match model {
        Model::Session => "AUTH_VERIFIER_TABLES__SESSION",
        Model::User => "AUTH_VERIFIER_TABLES__USER",
        Model::Jwks => "AUTH_VERIFIER_TABLES__JWKS",
        Model::OauthAccessToken => "AUTH_VERIFIER_TABLES__OAUTH_ACCESS_TOKEN",
        Model::OauthClient => "AUTH_VERIFIER_TABLES__OAUTH_CLIENT",
    }
}

/// Columns by which a table is known, whatever it is called.
fn marks(model: Model) -> &'static [&'static str] {
    match model {
        Model::Session => &["token", "userid", "expiresat"],
        Model::User => &["id", "email", "emailverified"],
        Model::Jwks => &["publickey", "privatekey"],
        Model::OauthAccessToken => &["token", "clientid", "scopes", "expiresat"],
        Model::OauthClient => &["clientid", "redirecturis"],
    }
}

/// A name without what people vary: case, underscores.
fn plain(name: &str) -> String {
    name.replace('_', "").to_lowercase()
}

/// Compares what is there with what is read.
fn judge(columns: &[Column], tables: &Tables, plan: &Plan, reads: Reads) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut there = Vec::new();
    for model in Model::ALL.into_iter().filter(|model| model.is_read(reads)) {
        let own: Vec<_> = columns
            .iter()
            .filter(|column| {
                column.schema == tables.schema().text() && column.table == tables.name(model).text()
            })
            .collect();
        if own.is_empty() {
            findings.push(missing(columns, tables, model));
        } else {
            there.push((model, own));
        }
    }
    findings.extend(spelling(&there, tables, plan, reads));
    for (model, own) in &there {
        findings.extend(readable(own, tables, *model, plan, reads));
    }
    findings
}

/// A table is not there; perhaps another one is it.
fn missing(columns: &[Column], tables: &Tables, model: Model) -> Finding {
    let what = format!("There is no table {}.", tables.table(model));
    let has = |schema: &str, table: &str, mark: &str| {
        columns.iter().any(|c| c.schema == schema && c.table == table && plain(&c.name) == *mark)
    };
    let mut candidates: Vec<_> = columns.iter().map(|c| (&*c.schema, &*c.table)).collect();
    candidates.dedup();
    candidates.retain(|(schema, table)| {
        // An access token is of a client, a session is not.
        let client = model == Model::Session && has(schema, table, "clientid");
        !client && marks(model).iter().all(|mark| has(schema, table, mark))
    });
    let alike = |table: &str| plain(table).trim_end_matches('s') == plain(model.name()).trim_end_matches('s');
    candidates.sort_by_key(|(schema, table)| (!alike(table), *schema != tables.schema().text()));
    let Some((schema, table)) = candidates.first() else {
        if let Some(finding) = renamed_whole(columns, tables, model, &what) {
            return finding;
        }
        let set = match model {
            Model::Session => {
                "Is AUTH_VERIFIER_DATABASE__URL Better Auth's own database, and was it migrated? Where sessions are kept \
                 elsewhere (secondaryStorage), set AUTH_VERIFIER_SESSION__LOOKUP=http."
            }
            _ => "Is AUTH_VERIFIER_DATABASE__URL Better Auth's own database, and was it migrated?",
        };
        return Finding::bad(what, set.to_owned());
    };
    let mut set = Vec::new();
    if *schema != tables.schema().text() {
        set.push(format!("AUTH_VERIFIER_TABLES__SCHEMA={schema}"));
    }
    if *table != tables.name(model).text() {
        set.push(format!("{}={table}", variable(model)));
    }
    Finding::bad(what, format!("Set {}: that table looks like it.", set.join(" and ")))
}

/// A table that may be the missing one by its own name, although its columns have other names, too.
fn renamed_whole(columns: &[Column], tables: &Tables, model: Model, what: &str) -> Option<Finding> {
    let mark = plain(model.name());
    let mark = mark.trim_end_matches('s');
    // An access token's table may speak of sessions and users, too.
    let other = |c: &&Column| {
        let name = plain(&c.table);
        name.contains(mark) && name.contains("token") == mark.contains("token")
    };
    let found =
        columns.iter().filter(other).min_by_key(|c| (c.schema != tables.schema().text(), c.table.len()))?;
    let of = |c: &&Column| (&c.schema, &c.table) == (&found.schema, &found.table);
    let there: Vec<_> = columns.iter().filter(of).map(|c| &*c.name).collect();
    let mut set = Vec::new();
    if found.schema != tables.schema().text() {
        set.push(format!("AUTH_VERIFIER_TABLES__SCHEMA={}", found.schema));
    }
    if found.table != tables.name(model).text() {
        set.push(format!("{}={}", variable(model), found.table));
    }
    let fields = model.fields().iter().filter(|field| !there.iter().any(|name| plain(name) == plain(field)));
    let fields: Vec<_> = fields.map(|field| format!("{}.{field}=<its column>", model.name())).collect();
    set.push(format!("AUTH_VERIFIER_TABLES__FIELDS={}", fields.join(",")));
    Some(Finding::bad(
        what.to_owned(),
        format!(
            "If {}.{} is it, with columns of other names, set {} (of what is not there, leave out what only a plugin has); there are \
             {}.",
            found.schema,
            found.table,
            set.join(" and "),
            there.join(", "),
        ),
    ))
}

/// The fields of a table that are read, and whether each must be there.
fn fields(model: Model, reads: Reads) -> impl Iterator<Item = (&'static str, bool)> {
    let optional = model.optional().flat_map(|(_, fields)| fields.iter().map(|field| (*field, false)));
    model.required(reads).into_iter().map(|field| (field, true)).chain(optional)
}

/// Columns that are not there as they are written, and perhaps are otherwise.
fn spelling(there: &[(Model, Vec<&Column>)], tables: &Tables, plan: &Plan, reads: Reads) -> Vec<Finding> {
    let other = match plan.settings.tables.columns {
        Columns::Camel => Columns::Snake,
        Columns::Snake => Columns::Camel,
    };
    let has = |own: &[&Column], name: &str| own.iter().any(|column| column.name == name);
    // Read so, there would be all that must be.
    let all_other = there
        .iter()
        .all(|(model, own)| model.required(reads).iter().all(|field| has(own, &other.written(field))));
    let mut findings = Vec::new();
    let (mut written, mut renamed) = (Vec::new(), Vec::new());
    for (model, own) in there {
        for (field, required) in fields(*model, reads) {
            let name = tables.column(*model, field);
            if has(own, name.text()) {
                continue;
            }
            let alike = own.iter().find(|column| plain(&column.name) == plain(field));
            match alike {
                Some(column) if all_other && column.name == other.written(field) => {
                    written.push(format!("{}.{}", tables.name(*model).text(), column.name));
                }
                Some(column) => renamed.push(format!("{}.{field}={}", model.name(), column.name)),
                None if required => findings.push(Finding::bad(
                    format!("{} has no column {name}.", tables.table(*model)),
                    format!(
                        "Set AUTH_VERIFIER_TABLES__FIELDS={}.{field}=<its column>; there are {}.",
                        model.name(),
                        own.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", "),
                    ),
                )),
                None => {}
            }
        }
    }
    if !written.is_empty() {
        let style = if other == Columns::Snake { "snake" } else { "camel" };
        findings.push(Finding::bad(
            format!("The columns are written otherwise: {}.", written.join(", ")),
            format!("Set AUTH_VERIFIER_TABLES__COLUMNS={style}."),
        ));
    }
    if !renamed.is_empty() {
        findings.push(Finding::bad(
            "Some columns have names of their own.".to_owned(),
            format!("Add to AUTH_VERIFIER_TABLES__FIELDS: {}.", renamed.join(",")),
        ));
    }
    findings
}

/// What of a table may not be read, and how what may is understood.
fn readable(own: &[&Column], tables: &Tables, model: Model, plan: &Plan, reads: Reads) -> Vec<Finding> {
    let mut findings = Vec::new();
    let table = tables.table(model);
    let read: Vec<(&str, &Column)> = fields(model, reads)
        .filter_map(|(field, _)| {
            let name = tables.column(model, field);
            own.iter().find(|column| column.name == name.text()).map(|column| (field, *column))
        })
        .collect();
    let refused: Vec<_> = read.iter().filter(|(_, c)| !c.granted).map(|(_, c)| &*c.name).collect();
    if !refused.is_empty() {
        findings.push(Finding::bad(
            format!("The role may not read {} of {table}.", refused.join(", ")),
            format!(
                "Run what `auth-verifier grants --role NAME` prints, as the owner of the tables; NAME is the user in {}.",
                DATABASE.url
            ),
        ));
    }
    for (field, want) in [("banned", "boolean"), ("banExpires", "timestamp")] {
        let of = |(name, column): &&(&str, &Column)| *name == field && !column.kind.starts_with(want);
        if let Some((_, column)) = read.iter().find(of).filter(|_| model == Model::User) {
            findings.push(Finding::bad(
                format!("{} of {table} is {}, and not {want}: no look-up is answered.", column.name, column.kind),
                format!("Give the column that type (alter table … alter column … type {want} using …), as the admin plugin has it."),
            ));
        }
    }
    if read.iter().any(|(_, column)| column.filtered) {
        findings.push(Finding::warning(
            format!("Row level security is on for {table}, and may hide all of it from the role."),
            "Give the role a policy: create policy … for select to … using (true).".to_owned(),
        ));
    }
    let zoneless: Vec<_> = read.iter().filter(|(_, column)| column.zoneless).map(|(_, c)| &*c.name).collect();
    if !zoneless.is_empty() {
        findings.push(Finding::Good(format!(
            "{} of {table} has no time zone, and is taken for {} (AUTH_VERIFIER_TABLES__TIME_ZONE).",
            zoneless.join(", "),
            plan.settings.tables.time_zone,
        )));
    }
    if model == Model::User {
        let bans = read.iter().any(|(field, _)| *field == "banned");
        findings.push(Finding::Good(if bans {
            format!("{table} says who is banned, and they are turned away.")
        } else {
            format!("{table} doesn't say who is banned: the admin plugin is not there.")
        }));
    }
    findings
}
