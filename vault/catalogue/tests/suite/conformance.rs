//! One suite for both stores. Every test begins with an empty catalogue.

use vault_catalogue::{Added, Catalogue, NewRecording};

use crate::{Place, new};

/// Makes a module of the tests below for each store.
macro_rules! suite {
    ($($name:ident)*) => {
        mod file {
            $(#[test] fn $name() { super::$name(&crate::Place::file()); })*
        }
        mod database {
            $(#[test] fn $name() { super::$name(&crate::Place::database()); })*
        }
    };
}

suite! {
    the_same_recording_again_is_told_of_once
    who_found_it_and_who_stored_it_make_one_recording_that_is_told_of_once
    what_was_added_is_there_after_a_reopen
    an_expired_recording_is_gone_and_told_of
    a_name_can_be_used_again_after_its_recording_expired
    deliveries_are_remembered_and_old_events_forgotten
    events_of_one_recording_can_be_asked_for
    a_catalogue_that_is_made_anew_does_not_repeat_numbers
    pages_put_together_are_the_whole_list
    the_oldest_come_first_and_sums_follow
    many_at_once_get_numbers_without_a_gap
}

fn stored(added: Added) -> vault_api::Recording {
    match added {
        Added::New(recording) => recording,
        Added::Duplicate(known) => panic!("{known:?} was there already"),
    }
}

fn kinds(catalogue: &dyn Catalogue) -> Vec<String> {
    let events = catalogue.events(0, None, 100).unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

fn the_same_recording_again_is_told_of_once(place: &Place) {
    let catalogue = place.open();
    let first = stored(catalogue.add(&new("gate", 1)).unwrap());
    let again = catalogue.add(&new("gate", 1)).unwrap();
    assert_eq!(again, Added::Duplicate(first.clone()));
    let events = catalogue.events(0, None, 10).unwrap();
    assert_eq!(events.len(), 1);
    let told = (
        events[0].kind.as_str(),
        events[0].site.as_str(),
        &events[0].recording,
    );
    assert_eq!(told, ("recording.stored", "site", &first));
    assert_eq!(catalogue.totals().unwrap().bytes, 10);
    assert_eq!(catalogue.by_id(first.id).unwrap(), Some(first));
    catalogue.probe().unwrap();
    catalogue.verify().unwrap();
}

/// An object is found by a vault that starts before another one has noted what it stored.
fn who_found_it_and_who_stored_it_make_one_recording_that_is_told_of_once(place: &Place) {
    let catalogue = place.open();
    let found = stored(catalogue.add(&new("gate", 1)).unwrap());
    let mut whole = new("front gate", 1);
    (whole.key, whole.stored_ms) = (found.key.clone(), 9000);
    (whole.start_ms, whole.duration_ms) = (1007, 990);
    whole.sha256 = Some("ab".repeat(32));
    let other = NewRecording {
        bytes: 11,
        ..whole.clone()
    };
    assert_eq!(
        catalogue.add(&other).unwrap(),
        Added::Duplicate(found.clone())
    );
    let wanted = vault_api::Recording {
        camera: "front gate".to_owned(),
        start_ms: 1007,
        duration_ms: 990,
        sha256: whole.sha256.clone(),
        ..found.clone()
    };
    // Whoever found it comes too late with the little that it knows, and so does another checksum.
    let mut later = whole.clone();
    later.sha256 = Some("cd".repeat(32));
    for again in [&whole, &new("gate", 1), &later] {
        let added = catalogue.add(again).unwrap();
        assert_eq!(added, Added::Duplicate(wanted.clone()));
    }
    assert_eq!(catalogue.by_id(found.id).unwrap(), Some(wanted.clone()));
    let page = catalogue.page(Some("front gate"), None, 10).unwrap();
    assert_eq!(page.recordings, std::slice::from_ref(&wanted));
    assert_eq!(catalogue.totals().unwrap().bytes, 10);
    assert_eq!(kinds(&*catalogue), ["recording.stored"]);
    catalogue.expire(&wanted, 10_000).unwrap();
    let told = ["recording.stored", "recording.expired"];
    assert_eq!(kinds(&*catalogue), told);
    let events = catalogue.events(0, None, 10).unwrap();
    assert_eq!(events[1].recording, wanted);
}

fn what_was_added_is_there_after_a_reopen(place: &Place) {
    let recording = stored(place.open().add(&new("gate", 1)).unwrap());
    let catalogue = place.open();
    let found = catalogue.by_key("a", "a/1_gate.mp4").unwrap();
    assert_eq!(found, Some(recording));
    assert_eq!(catalogue.by_key("b", "a/1_gate.mp4").unwrap(), None);
    assert_eq!(catalogue.by_id(17).unwrap(), None);
    assert_eq!(catalogue.totals().unwrap().recordings, 1);
}

fn an_expired_recording_is_gone_and_told_of(place: &Place) {
    let catalogue = place.open();
    catalogue.add(&new("gate", 1)).unwrap();
    let oldest = catalogue.oldest(5).unwrap();
    catalogue.expire(&oldest[0], 9).unwrap();
    catalogue.expire(&oldest[0], 9).unwrap();
    assert_eq!(catalogue.totals().unwrap().recordings, 0);
    assert_eq!(catalogue.by_key("a", "a/1_gate.mp4").unwrap(), None);
    assert_eq!(catalogue.by_id(oldest[0].id).unwrap(), None);
    assert_eq!(catalogue.page(None, None, 10).unwrap().recordings, []);
    assert_eq!(
        kinds(&*catalogue),
        ["recording.stored", "recording.expired"]
    );
}

fn a_name_can_be_used_again_after_its_recording_expired(place: &Place) {
    let catalogue = place.open();
    let first = stored(catalogue.add(&new("gate", 1)).unwrap());
    catalogue.expire(&first, 9000).unwrap();
    let mut later = new("gate", 1);
    later.stored_ms = 9001;
    let second = stored(catalogue.add(&later).unwrap());
    // What was meant is gone; what is there now stays.
    catalogue.expire(&first, 9002).unwrap();
    let found = catalogue.by_key("a", "a/1_gate.mp4").unwrap();
    assert_eq!(found, Some(second));
    let wanted = ["recording.stored", "recording.expired", "recording.stored"];
    assert_eq!(kinds(&*catalogue), wanted);
}

fn deliveries_are_remembered_and_old_events_forgotten(place: &Place) {
    let catalogue = place.open();
    for n in 0..5 {
        catalogue.add(&new("gate", n)).unwrap();
    }
    let hook = ["hook".to_owned()];
    assert!(catalogue.claim("hook").unwrap());
    assert_eq!(catalogue.undelivered(&hook).unwrap(), 5);
    assert_eq!(catalogue.undelivered(&[]).unwrap(), 0);
    catalogue.deliver("hook", 3).unwrap();
    catalogue.deliver("hook", 2).unwrap();
    assert_eq!(place.open().delivered("hook").unwrap(), 3);
    assert_eq!(catalogue.undelivered(&hook).unwrap(), 2);
    let numbers = || {
        let events = catalogue.events(0, None, 10).unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    // The second happened at 1005 and is not old.
    catalogue.forget(1000, &hook).unwrap();
    assert_eq!(numbers(), [2, 3, 4, 5]);
    catalogue.forget(i64::MAX, &hook).unwrap();
    assert_eq!(numbers(), [4, 5]);
    assert_eq!(catalogue.totals().unwrap().recordings, 5);
    catalogue.forget(i64::MAX, &[]).unwrap();
    assert_eq!(numbers(), [0; 0]);
    catalogue.add(&new("gate", 7)).unwrap();
    assert_eq!(place.open().events(3, None, 10).unwrap()[0].seq, 6);
}

fn events_of_one_recording_can_be_asked_for(place: &Place) {
    let catalogue = place.open();
    let first = stored(catalogue.add(&new("gate", 1)).unwrap());
    catalogue.add(&new("gate", 2)).unwrap();
    catalogue.expire(&first, 9).unwrap();
    let events = catalogue.events(0, Some(first.id), 10).unwrap();
    let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(catalogue.events(0, None, 2).unwrap().len(), 2);
    assert_eq!(catalogue.events(2, None, 2).unwrap().len(), 1);
    assert_eq!(catalogue.events(3, None, 2).unwrap(), []);
}

fn a_catalogue_that_is_made_anew_does_not_repeat_numbers(place: &Place) {
    let catalogue = place.open();
    catalogue.start_at(5000).unwrap();
    catalogue.add(&new("gate", 1)).unwrap();
    catalogue.start_at(9000).unwrap();
    catalogue.add(&new("gate", 2)).unwrap();
    let events = catalogue.events(0, None, 10).unwrap();
    let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, [5001, 5002]);
}

fn pages_put_together_are_the_whole_list(place: &Place) {
    let (catalogue, count) = (place.open(), 40);
    for n in 0..count {
        let camera = if n % 3 == 0 { "gate" } else { "yard" };
        // Two cameras' recordings often begin in the same millisecond.
        let mut recording = new(camera, n);
        recording.start_ms = n / 2;
        catalogue.add(&recording).unwrap();
    }
    for (camera, limit) in [
        (None, 1),
        (None, 7),
        (None, 8),
        (Some("gate"), 3),
        (Some("x"), 3),
    ] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = catalogue.page(camera, after, limit).unwrap();
            found.extend(page.recordings);
            match page.next {
                Some(next) => after = Some(next.parse().unwrap()),
                None => break,
            }
        }
        let all = catalogue.page(camera, None, 1000).unwrap().recordings;
        assert_eq!(found, all);
        assert!(all.is_sorted_by(|one, next| one.start_ms >= next.start_ms));
        let wanted = |n: &i64| match camera {
            None => true,
            Some(camera) => camera == "gate" && n % 3 == 0,
        };
        assert_eq!(found.len(), (0..count).filter(wanted).count());
    }
}

fn the_oldest_come_first_and_sums_follow(place: &Place) {
    let catalogue = place.open();
    let totals = catalogue.totals().unwrap();
    assert_eq!((totals.recordings, totals.oldest_ms), (0, None));
    for n in [5, 3, 9] {
        catalogue.add(&new("gate", n)).unwrap();
    }
    let sums = |catalogue: &dyn Catalogue| {
        let totals = catalogue.totals().unwrap();
        (
            totals.recordings,
            totals.bytes,
            totals.oldest_ms,
            totals.newest_ms,
        )
    };
    assert_eq!(sums(&*catalogue), (3, 30, Some(3000), Some(9000)));
    let oldest = catalogue.oldest(2).unwrap();
    let starts: Vec<_> = oldest.iter().map(|recording| recording.start_ms).collect();
    assert_eq!(starts, [3000, 5000]);
    catalogue.expire(&oldest[0], 9).unwrap();
    assert_eq!(sums(&*catalogue), (2, 20, Some(5000), Some(9000)));
    assert_eq!(sums(&*place.open()), sums(&*catalogue));
}

fn many_at_once_get_numbers_without_a_gap(place: &Place) {
    let catalogue = place.open();
    catalogue.probe().unwrap();
    let shared = matches!(place, Place::Database(..));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let catalogue = &catalogue;
            scope.spawn(move || {
                // A file has one owner; a database may have several.
                let own = shared.then(|| place.open());
                let catalogue = own.as_ref().unwrap_or(catalogue);
                for n in 0..10 {
                    catalogue.add(&new(&format!("c{writer}"), n)).unwrap();
                    // Two vaults that find the same object take it up once.
                    catalogue.add(&new("both", n)).unwrap();
                }
            });
        }
    });
    let events = catalogue.events(0, None, 100).unwrap();
    let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    let mut keys: Vec<_> = events.iter().map(|event| &event.recording.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 50);
}
