//! Behind a transaction pooler, where a statement that is asked for by its name may be somebody else's: nobody is let in
//! by the answer to another question.

use std::sync::Arc;

use auth_verifier::{better_auth::database::Database, session::token::SessionToken, settings::Settings};
use chassis::settings;
use dev_postgres::{pooler::PgBouncer, test};
use identity::UserId;

use crate::{
    tables::{BETTER_AUTH, PATIENT, TOKEN, connect},
    world::{ISSUER, SECRET},
};

/// Replicas at one time, and how often they are all replaced.
const REPLICAS: usize = 4;
const ROUNDS: usize = 5;

/// Names that others have used before us.
const NAMES: usize = 2000;

fn replica(url: &str, named: &str) -> Arc<Database> {
    let base = [
        ("BETTER_AUTH_URL", ISSUER),
        ("BETTER_AUTH_SECRET", SECRET),
        ("AUTH_VERIFIER_DATABASE__URL", url),
        ("AUTH_VERIFIER_DATABASE__NAMED_STATEMENTS", named),
    ];
    let settings = settings::load::<Settings>(&base.iter().chain(&PATIENT).copied().collect()).unwrap();
    settings.database().unwrap()
}

/// Asks everything, also what would find somebody if it were taken for another question.
async fn asks_everything(database: Arc<Database>, number: usize) {
    let token = |text| SessionToken::bare(text).unwrap();
    let user = |text| UserId::parse(text).unwrap();
    for turn in 0..40 {
        match (turn + number) % 6 {
            0 => {
                let found = database.session(&token(TOKEN)).await.unwrap().unwrap();
                assert_eq!(found.user.as_str(), "u1");
            }
            // The id of a user is the token of nobody's session; and the other way round.
            1 => assert_eq!(database.session(&token("UserIdOfAdaWith32Characters000001")).await, Ok(None)),
            2 => assert_eq!(database.user(&user(TOKEN)).await, Ok(None)),
            3 => {
                let id = "UserIdOfAdaWith32Characters000001";
                assert_eq!(database.user(&user(id)).await.unwrap().unwrap().user.as_str(), id);
            }
            4 => assert_eq!(database.session_by_id(TOKEN).await, Ok(None)),
            _ => assert_eq!(database.session_by_id("s1").await.unwrap().unwrap().user.as_str(), "u1"),
        }
    }
}

#[tokio::test]
async fn behind_a_pooler_who_somebody_is_is_never_the_answer_to_another_question() {
    let Some(tables) = test::database() else { return };
    let Some(pooler) = PgBouncer::before(&tables, 3) else { return };
    let admin = connect(&tables.url()).await;
    admin.batch_execute(BETTER_AUTH).await.unwrap();
    let user = r#"insert into "user" (id, name, email, "emailVerified")
        values ('UserIdOfAdaWith32Characters000001', 'Ada', 'other@example.com', true)"#;
    admin.batch_execute(user).await.unwrap();
    // A release of old, or anybody else, has used the names before us: what looks like the look-up of a session takes
    // the id of a user.
    let planted = connect(&pooler.url()).await;
    let planting: Vec<_> = (0..NAMES)
        .map(|n| {
            format!(
                r#"prepare s{n} (text, text) as select id, email, false as banned, null::bigint as expires
                   from "user" where id = $1 and $2 is not null"#
            )
        })
        .collect();
    let prepare = planting.join(";");
    planted.batch_execute(&prepare).await.unwrap();
    for round in 0..ROUNDS {
        let mut asked = Vec::new();
        for number in 0..REPLICAS {
            // Even those that were told that names are safe notice in time that they are not.
            let named = if number == 0 { "on" } else { "off" };
            let database = replica(&pooler.url(), named);
            asked.push(tokio::spawn(asks_everything(database, number + round)));
        }
        for asked in asked {
            asked.await.unwrap();
        }
    }
}
