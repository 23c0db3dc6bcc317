//! Turns, refusals, repetitions; the clock is tokio's own and stands still.

use std::sync::atomic::AtomicU32;

use bessemer_proto::secret::Secret;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn queue(limits: Limits) -> Arc<Queue> {
    let queue = Arc::new(Queue::new("bmc".into()));
    queue.set_limits(limits);
    queue
}

async fn nap(queue: &Queue, time: Duration) -> Result<(), BmcError> {
    let call = async {
        tokio::time::sleep(time).await;
        Ok(())
    };
    queue.run("a nap", 60 * SECOND, call).await
}

#[test]
fn a_bmc_has_one_queue_for_all_protocols() {
    assert!(Arc::ptr_eq(&of("BMC.example", None), &of("bmc.example", None)));
    assert!(Arc::ptr_eq(&of("[fd00::1]", None), &of("fd00::1", None)));
    assert!(!Arc::ptr_eq(&of("bmc.example", None), &of("bmc.example", Some(8443))));
}

#[tokio::test(start_paused = true)]
async fn calls_run_two_at_a_time_in_order_and_are_counted() {
    let queue = queue(Limits::default());
    let started = Instant::now();
    let ends = futures_util::future::join_all((0..6).map(|_| async {
        nap(&queue, SECOND).await.unwrap();
        started.elapsed().as_secs()
    }));
    assert_eq!(ends.await, [1, 1, 2, 2, 3, 3]);
    let calls = queue.calls();
    assert_eq!((calls.number, calls.failed, calls.time.as_secs(), calls.waited.as_secs()), (6, 0, 6, 6));

    queue.set_limits(Limits { concurrency: 1, ..Limits::default() });
    let started = Instant::now();
    let (one, two) = tokio::join!(nap(&queue, SECOND), nap(&queue, SECOND));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(started.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_keep_their_distance() {
    let queue = queue(Limits { spacing: SECOND, ..Limits::default() });
    let started = Instant::now();
    for _ in 0..4 {
        nap(&queue, Duration::ZERO).await.unwrap();
    }
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn too_many_waiters_are_turned_away_and_those_who_give_up_leave_their_place() {
    let queue = queue(Limits { concurrency: 1, waiting: 2, ..Limits::default() });
    let spawn = || {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move { nap(&queue, 1000 * SECOND).await })
    };
    let (first, second, third) = (spawn(), spawn(), spawn());
    tokio::task::yield_now().await;
    let error = nap(&queue, SECOND).await.unwrap_err();
    assert!(matches!(error, BmcError::Busy { waiting: 2, .. }), "{error}");
    let tasks = [first, second, third];
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    for task in tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    nap(&queue, SECOND).await.unwrap();
    let calls = queue.calls();
    assert_eq!((calls.number, calls.failed), (2, 1), "a call that was given up counts, a wait does not");
}

#[tokio::test(start_paused = true)]
async fn a_call_and_an_operation_end_at_their_deadlines() {
    let queue = queue(Limits::default());
    let error = nap(&queue, 61 * SECOND).await.unwrap_err();
    assert!(matches!(&error, BmcError::Timeout { what, seconds: 60, .. } if what == "a nap"), "{error}");
    let whole = within("bmc", "a long look", 5 * SECOND, nap(&queue, 6 * SECOND)).await;
    assert!(matches!(whole, Err(BmcError::Timeout { seconds: 5, .. })));
    // Both gave their places back.
    let (one, two) = tokio::join!(nap(&queue, SECOND), nap(&queue, SECOND));
    assert!(one.is_ok() && two.is_ok());
}

fn account<'a>(user: &'a str, password: &'a Secret) -> Account<'a> {
    Account { user, password, keys: "user and password", address: "bmc" }
}

#[tokio::test]
async fn what_was_refused_is_not_tried_again_until_it_changes_or_time_has_passed() {
    let queue = queue(Limits::default());
    let (wrong, right) = (Secret::new("wrong"), Secret::new("right"));
    let tries = AtomicU32::new(0);
    let log_in = |password| {
        let (queue, tries) = (&queue, &tries);
        async move {
            let attempt = queue.guard(&account("root", password)).await?;
            tries.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            match password.reveal() {
                "right" => attempt.accepted(),
                _ => return Err(attempt.refused()),
            }
            Ok(())
        }
    };
    let all = futures_util::future::join_all((0..8).map(|_| log_in(&wrong))).await;
    assert!(all.iter().all(|one| matches!(one, Err(BmcError::Credentials { .. }))));
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    assert!(queue.remembers_refusal());
    log_in(&right).await.unwrap();
    assert!(log_in(&wrong).await.is_err(), "the right one does not make the wrong one good");
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    queue.set_limits(Limits { lockout: Duration::ZERO, ..Limits::default() });
    assert!(log_in(&wrong).await.is_err());
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    assert!(!format!("{queue:?}").contains("right"));
}

#[tokio::test]
async fn an_attempt_that_was_given_up_lets_the_next_one_try() {
    let queue = queue(Limits::default());
    let password = Secret::new("right");
    drop(queue.guard(&account("root", &password)).await.unwrap());
    queue.guard(&account("root", &password)).await.unwrap().accepted();
    // Known to be right: several at once.
    let one = queue.guard(&account("root", &password)).await.unwrap();
    let two = queue.guard(&account("root", &password)).await.unwrap();
    assert!(matches!(one.refused(), BmcError::Credentials { .. }));
    two.accepted();
}

#[tokio::test(start_paused = true)]
async fn repetitions_grow_apart_and_end() {
    let retry = Retry { attempts: 4, pause: SECOND, factor: 2, longest: 3 * SECOND, within: 60 * SECOND };
    let tries = AtomicU32::new(0);
    let count = || async { tries.fetch_add(1, Ordering::Relaxed) };
    let started = Instant::now();
    assert_eq!(retry.run(count, |_| Again::Yes).await, 3);
    // 1 + 2 + 3 s, each a quarter more or less.
    assert!((4..=8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(retry.run(count, |tried| (*tried < 5).into()).await, 5);
    let asked = Instant::now();
    assert_eq!(
        retry.run(count, |tried| if *tried < 7 { Again::After(10 * SECOND) } else { Again::No }).await,
        7
    );
    assert_eq!(asked.elapsed().as_secs(), 10);
    // What cannot begin in time is not begun.
    assert_eq!(retry.run(count, |_| Again::After(61 * SECOND)).await, 8);
}
