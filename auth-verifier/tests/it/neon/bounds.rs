//! What bounds the look-ups that anybody can cause at Neon.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use chassis::clock::{Clock, UnixSeconds};

use super::stand_in::{ADA, COOKIE, Neon, TOKEN, ada, by, by_client, cookie, made_up, session, signed};
use crate::world::now;

const NO_LAG: (&str, &str) = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "0");
const LONG_LAG: (&str, &str) = ("AUTH_VERIFIER_REVOCATION_LAG_SECS", "300");

/// A clock that is set forward by hand.
fn clock() -> (Clock, Arc<AtomicU64>) {
    let (begun, later) = (now(), Arc::new(AtomicU64::new(0)));
    let set = later.clone();
    (Clock::of(move || UnixSeconds(begun + later.load(Ordering::Relaxed))), set)
}

/// Number `n`'s spelling of a value: each bit says whether that character is percent-encoded.
fn spelled(value: &str, n: u32) -> String {
    let bit = |at: usize| n.checked_shr(at.try_into().unwrap()).is_some_and(|rest| rest & 1 == 1);
    let spell = |(at, c): (usize, char)| if bit(at) { format!("%{:02X}", c as u32) } else { c.to_string() };
    value.char_indices().map(spell).collect()
}

/// The values that base64 reads as the same signature: its last character has two bits to spare.
fn of_the_same_bytes(value: &str) -> Vec<String> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = value.len() - "A%3D".len();
    let last = ALPHABET.find(&value[at..=at]).unwrap();
    let spelled = |more: usize| format!("{}{}%3D", &value[..at], &ALPHABET[last + more..=last + more]);
    (1..4).map(spelled).collect()
}

#[tokio::test]
async fn one_cookie_is_one_question_however_it_is_spelled() {
    let neon = Neon::new().await;
    let world = neon.alone(&[LONG_LAG]).await;
    let good = signed(TOKEN);
    // Neon takes all of them (`better-call` does).
    let others: Vec<_> = (1..200).map(|n| spelled(&good, n)).chain(of_the_same_bytes(&good)).collect();
    let plain = percent_encoding::percent_decode_str(&good).decode_utf8().unwrap();
    for value in others.iter().map(String::as_str).chain([&*plain]) {
        neon.know(COOKIE, value, session(TOKEN, &ada()));
    }
    for value in [&*good, &plain] {
        assert_eq!(by_client(&world, &format!("{COOKIE}={value}"), "203.0.113.7").await.user(), Some(ADA));
    }
    for value in &others {
        let answer = by_client(&world, &format!("{COOKIE}={value}"), "203.0.113.7").await;
        assert_eq!((answer.status.as_u16(), answer.user()), (401, None), "{value}");
    }
    assert_eq!(neon.asked(), 1);
}

#[tokio::test]
async fn of_two_spellings_either_is_carried_as_it_came() {
    let good = signed(TOKEN);
    let plain = percent_encoding::percent_decode_str(&good).decode_utf8().unwrap();
    assert_ne!(good, plain);
    for value in [&*good, &plain] {
        let neon = Neon::new().await;
        let world = neon.alone(&[]).await;
        let cookie = format!("{COOKIE}={value}");
        neon.know(COOKIE, value, session(TOKEN, &ada()));
        assert_eq!(by(&world, &cookie).await.user(), Some(ADA));
        assert_eq!(neon.last().0["cookie"], *cookie);
    }
}

#[tokio::test]
async fn what_neon_knows_nobody_by_is_not_asked_about_for_ten_minutes() {
    for lag in ["0", "300"] {
        let neon = Neon::new().await;
        let (clock, later) = clock();
        let world = neon.alone_at(clock, &[("AUTH_VERIFIER_REVOCATION_LAG_SECS", lag)]).await;
        for (secs, asked) in [(0, 1), (599, 1), (600, 2), (1199, 2), (1200, 3)] {
            later.store(secs, Ordering::Relaxed);
            assert_eq!(by(&world, &made_up(1)).await.status, 401);
            assert_eq!(neon.asked(), asked, "lag {lag}, at {secs} s");
        }
    }
}

#[tokio::test]
async fn all_clients_together_are_bounded_and_cost_nobody_who_is_known_theirs() {
    let neon = Neon::new().await;
    let world = neon.alone(&[NO_LAG]).await;
    assert_eq!(by_client(&world, &cookie(), "198.51.100.1").await.user(), Some(ADA));
    let (begun, before) = (std::time::Instant::now(), neon.asked());
    let (mut refused, mut last) = (0, 0);
    for number in 0..150 {
        let answer = by_client(&world, &made_up(number), &format!("203.0.113.{}", number / 25)).await;
        last = answer.status.as_u16();
        assert!([401, 503].contains(&last), "{last}");
        if last == 503 {
            refused += 1;
            assert_eq!(answer.header("retry-after"), Some("1"), "there is room again in a moment");
        }
    }
    let asked = neon.asked() - before;
    // The budget comes back by and by, however slow this machine is.
    let refilled = usize::try_from(begun.elapsed().as_millis() / 250).unwrap() + 1;
    assert!((40..=40 + refilled).contains(&asked), "{asked} in {:?}", begun.elapsed());
    assert_eq!(asked + refused, 150, "the last one heard {last}");
    assert_eq!(by_client(&world, &cookie(), "198.51.100.1").await.user(), Some(ADA));
    assert_eq!(neon.asked(), before + asked + 1);
}

#[tokio::test]
async fn after_a_429_whoever_is_known_goes_on_and_whoever_is_not_waits() {
    let neon = Neon::new().await;
    let world = neon.alone(&[NO_LAG]).await;
    assert_eq!(by(&world, &cookie()).await.user(), Some(ADA));
    neon.limit("60");
    assert_eq!(by(&world, &made_up(1)).await.status, 503);
    neon.recover();
    let asked = neon.asked();
    assert_eq!(by(&world, &cookie()).await.user(), Some(ADA), "she is known");
    assert_eq!(neon.asked(), asked + 1);
    let newcomer = by(&world, &made_up(2)).await;
    assert_eq!((newcomer.status.as_u16(), neon.asked()), (503, asked + 1));
    assert!(newcomer.header("retry-after").unwrap().parse::<u64>().unwrap() <= 60);
    // It says so all the same: now nobody is asked about.
    neon.limit("60");
    assert_eq!(by(&world, &cookie()).await.status, 503);
    neon.recover();
    assert_eq!(by(&world, &cookie()).await.status, 503);
    assert_eq!(neon.asked(), asked + 2);
}

#[tokio::test]
async fn a_session_that_has_ended_is_no_longer_known() {
    let neon = Neon::new().await;
    let (clock, later) = clock();
    let world = neon.alone_at(clock, &[NO_LAG]).await;
    assert_eq!(by(&world, &cookie()).await.user(), Some(ADA));
    neon.forget();
    assert_eq!(by(&world, &cookie()).await.status, 401);
    later.store(600, Ordering::Relaxed);
    neon.limit("60");
    assert_eq!(by(&world, &made_up(1)).await.status, 503);
    let asked = neon.asked();
    assert_eq!(by(&world, &cookie()).await.status, 503, "as one that nobody is known by");
    assert_eq!(neon.asked(), asked);
}
