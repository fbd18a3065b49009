//! Events: their numbers, who tells them, and how far.

use std::sync::atomic::Ordering;

use mongodb::bson::doc;
use mongodb::options::ReadConcern;
use vault_api::Event;

use super::document::{Claim, Delivery, Kept, Numbers, Told, claim_id, event_id};
use super::{LEASE_MS, MongoCatalogue, NUMBERS, is_duplicate, now_ms};
use crate::CatalogueError;

/// Others that number events at the same time.
const TRIES: usize = 1000;

impl MongoCatalogue {
    /// Tells what a recording still has to tell, and forgets it when it is gone. A vault that ended
    /// half-way left exactly this to be done again, by itself or by another.
    pub(super) fn settle(&self, kept: &Kept) -> Result<(), CatalogueError> {
        let recording = &kept.recording;
        let id = doc! { "_id": &kept.id };
        if !kept.told {
            self.append("recording.stored", recording.stored_ms, kept)?;
        }
        if kept.gone_ms > 0 {
            self.append("recording.expired", kept.gone_ms, kept)?;
            let done = self.recordings.delete_one(id).run();
            return done
                .map(|_| ())
                .map_err(self.failed("remove a recording from"));
        }
        if !kept.told {
            let told = doc! { "$set": { "told": true } };
            let done = self.recordings.update_one(id, told).run();
            done.map_err(self.failed("tell of a recording in"))?;
        }
        Ok(())
    }

    /// Whatever a vault that ended left to be told.
    pub(super) fn settle_all(&self) -> Result<(), CatalogueError> {
        let failed = self.failed("tell of recordings in");
        let open = doc! { "$or": [{ "told": false }, { "gone_ms": { "$gt": 0_i64 } }] };
        for kept in self.recordings.find(open).run().map_err(&failed)? {
            self.settle(&kept.map_err(&failed)?)?;
        }
        Ok(())
    }

    /// Puts an event after all others, once.
    ///
    /// A number is taken by the insert itself, and only the one after a number that is there: events
    /// become visible in their order, so whoever has read up to one has missed none before it.
    fn append(&self, kind: &str, at_ms: i64, kept: &Kept) -> Result<(), CatalogueError> {
        let recording = &kept.recording;
        let once = format!("{}.{}.{kind}", kept.id, recording.stored_ms);
        let mut seq = self.last_number()?.max(self.seen.load(Ordering::Relaxed));
        for _ in 0..TRIES {
            seq += 1;
            let told = Told {
                id: event_id(seq),
                once: once.clone(),
                event: Event {
                    seq,
                    kind: kind.to_owned(),
                    site: self.site.clone(),
                    at_ms,
                    recording: recording.clone(),
                },
            };
            match self.events.insert_one(told).run() {
                Ok(_) => return self.numbered(seq),
                Err(error) if is_duplicate(&error) => {
                    if self.is_told(&once)? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(self.failed("tell of a recording in")(error)),
            }
        }
        Err(CatalogueError::Crowded {
            database: self.database.clone(),
        })
    }

    /// Notes a number that is taken; forgetting to do so costs a try.
    pub(super) fn numbered(&self, seq: i64) -> Result<(), CatalogueError> {
        self.seen.fetch_max(seq, Ordering::Relaxed);
        let last = doc! { "$max": { "last": seq } };
        let done = self.numbers.update_one(doc! { "_id": NUMBERS }, last);
        let done = done.upsert(true).run();
        done.map(|_| ()).map_err(self.failed("number"))
    }

    pub(super) fn numbers(&self) -> Result<Option<Numbers>, CatalogueError> {
        let found = self.numbers.find_one(doc! { "_id": NUMBERS }).run();
        found.map_err(self.failed("read numbers of"))
    }

    pub(super) fn last_number(&self) -> Result<i64, CatalogueError> {
        Ok(self.numbers()?.map_or(0, |numbers| numbers.last))
    }

    /// The highest number of all, whatever was noted.
    pub(super) fn count_on(&self) -> Result<(), CatalogueError> {
        let newest = self.events.find_one(doc! {}).sort(doc! { "_id": -1 });
        let newest = newest.run().map_err(self.failed("read events of"))?;
        newest.map_or(Ok(()), |told| self.numbered(told.event.seq))
    }

    /// Whether an event was told, by whomever. What another vault is just writing counts too, else
    /// its number would be taken for the reason of a refusal.
    fn is_told(&self, once: &str) -> Result<bool, CatalogueError> {
        let found = self.events.find_one(doc! { "once": once });
        let found = found.read_concern(ReadConcern::local()).run();
        let found = found.map_err(self.failed("read events of"))?;
        Ok(found.is_some())
    }

    fn event(&self, seq: i64) -> Result<Option<Told>, CatalogueError> {
        let found = self.events.find_one(doc! { "_id": event_id(seq) }).run();
        found.map_err(self.failed("read events of"))
    }

    /// One by one, which is the cheap way to ask whether there is any; at a number that was
    /// forgotten or never given, by their order.
    pub(super) fn read_events(
        &self,
        seq: i64,
        of: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Event>, CatalogueError> {
        let mut found = Vec::new();
        if of.is_none() {
            let mut next = seq;
            while found.len() < limit {
                next += 1;
                match self.event(next)? {
                    Some(told) => found.push(told.event),
                    None => break,
                }
            }
            if !found.is_empty() || self.last_number()? <= seq {
                return Ok(found);
            }
        }
        let failed = self.failed("read events of");
        let mut filter = doc! { "_id": { "$gt": event_id(seq) } };
        if let Some(of) = of {
            filter.insert("event.recording.id", of);
        }
        let rows = self.events.find(filter).sort(doc! { "_id": 1 });
        let rows = rows.limit(i64::try_from(limit).unwrap_or(i64::MAX)).run();
        for row in rows.map_err(&failed)? {
            found.push(row.map_err(&failed)?.event);
        }
        Ok(found)
    }

    /// One vault at a time tells an integration. Two that ask at the very same moment insert the same
    /// number, which one of them can: `FerretDB` 1 changes a document in two steps, so that both would
    /// find it free and take it. Only who holds a claim changes it.
    pub(super) fn lease(&self, integration: &str) -> Result<bool, CatalogueError> {
        let now = now_ms();
        let mut leases = self.leases();
        if leases
            .get(integration)
            .is_some_and(|until| until - now > LEASE_MS / 2)
        {
            return Ok(true);
        }
        leases.remove(integration);
        drop(leases);
        let failed = self.failed("claim deliveries of");
        let of = doc! { "integration": integration };
        let newest = self.claims.find_one(of).sort(doc! { "number": -1 });
        let newest = newest.run().map_err(&failed)?;
        let until = now + LEASE_MS;
        let held = match newest {
            Some(claim) if claim.until_ms > now && claim.holder == self.holder => {
                let longer = doc! { "$set": { "until_ms": until } };
                let done = self.claims.update_one(doc! { "_id": claim.id }, longer);
                done.run().map_err(&failed)?.matched_count == 1
            }
            Some(claim) if claim.until_ms > now => false,
            over => {
                let number = over.map_or(0, |claim| claim.number) + 1;
                self.take(integration, number, until)?
            }
        };
        if held {
            self.leases().insert(integration.to_owned(), until);
        }
        Ok(held)
    }

    /// Whether the claim of this number is ours.
    fn take(&self, integration: &str, number: i64, until_ms: i64) -> Result<bool, CatalogueError> {
        let failed = self.failed("claim deliveries of");
        let claim = Claim {
            id: claim_id(integration, number),
            integration: integration.to_owned(),
            number,
            holder: self.holder.clone(),
            until_ms,
        };
        match self.claims.insert_one(claim).run() {
            Err(error) if is_duplicate(&error) => return Ok(false),
            done => done.map_err(&failed)?,
        };
        let over = doc! { "integration": integration, "number": { "$lt": number } };
        self.claims.delete_many(over).run().map_err(&failed)?;
        Ok(true)
    }

    /// Gives back what is held, so that another vault need not wait.
    pub(super) fn release(&self) -> Result<(), CatalogueError> {
        let held = std::mem::take(&mut *self.leases());
        for integration in held.into_keys() {
            let mine = doc! { "integration": integration, "holder": &self.holder };
            let free = doc! { "$set": { "until_ms": 0_i64 } };
            let done = self.claims.update_many(mine, free).run();
            done.map_err(self.failed("release deliveries of"))?;
        }
        Ok(())
    }

    pub(super) fn delivery(&self, integration: &str) -> Result<Delivery, CatalogueError> {
        let found = self.deliveries.find_one(doc! { "_id": integration }).run();
        let found = found.map_err(self.failed("read deliveries of"))?;
        Ok(found.unwrap_or_default())
    }
}
