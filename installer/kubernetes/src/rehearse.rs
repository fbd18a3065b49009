//! Changes that are asked for and not made: a strict dry run of what differs, beside what is there.

use installer_engine::EffectError;
use installer_plan::kubernetes::{
    Conflict, FIELD_MANAGER, KubernetesAction, Rehearsal, Rehearsals,
};
use installer_render::kubernetes::{Object, ObjectId};
use serde_json::Value;

use crate::connect::Connection;
use crate::error::{conflicts, effect, fixed};
use crate::managed::{dated, differences, filled, holders, is_maker};
use crate::pace::{Pace, perform_all};
use crate::request::{Extent, Force, RequestError, asked};

/// What came of asking for one change.
#[derive(Default)]
struct Heard {
    /// Nothing of one that went away meanwhile: another look tells.
    said: Option<(ObjectId, Rehearsal)>,
    conflicts: Vec<(ObjectId, Vec<Conflict>)>,
}

/// Asks for each of these changes without making it. Every object has to be there.
pub async fn rehearse(
    connection: &Connection,
    namespace: &str,
    actions: &[&KubernetesAction],
) -> Result<Rehearsals, EffectError> {
    let mut pace = Pace::default();
    let ask = |index: usize| {
        let action = actions.get(index).copied();
        async move {
            match action {
                Some(KubernetesAction::Apply { object, adopts, .. }) => {
                    one(connection, namespace, object, adopts.is_some()).await
                }
                Some(action) => in_place(connection, namespace, action).await,
                None => Ok(Heard::default()),
            }
        }
    };
    let heard = perform_all(&mut pace, actions, || false, ask).await;
    let mut all = Rehearsals::default();
    for (_, heard) in heard {
        let heard = heard?;
        all.said.extend(heard.said);
        let conflicts = heard.conflicts.into_iter();
        all.conflicts
            .extend(conflicts.filter(|(_, conflicts)| !conflicts.is_empty()));
    }
    Ok(all)
}

async fn one(
    connection: &Connection,
    namespace: &str,
    object: &Object,
    is_adopted: bool,
) -> Result<Heard, EffectError> {
    let id = &object.id;
    let Some(live) = read(connection, namespace, id, Extent::Whole).await? else {
        return Ok(Heard::default());
    };
    let manifest = filled(&object.value(), &live);
    let ask = |force| connection.dry_run(namespace, id, &manifest, force);
    let mut next = ask(Force::No).await;
    let refusal = next.as_ref().err().and_then(RequestError::refusal);
    let mut conflicts = refusal.map(conflicts).unwrap_or_default();
    if !conflicts.is_empty() {
        next = ask(Force::Yes).await;
        // What admission writes beside an object is noted as of our own manager.
        conflicts.retain(|conflict| conflict.by.manager != FIELD_MANAGER);
        // What they have becomes ours before.
        conflicts.retain(|conflict| !is_adopted || !is_maker(&conflict.by.manager));
        dated(&mut conflicts, &live);
    }
    let said = match next {
        Ok(next) => Rehearsal::Differs(differences(id.kind, &live, &next, FIELD_MANAGER)),
        Err(error) if error.retry_after().is_none() && error.refusal().is_some() => {
            refused(id, &error)
        }
        Err(error) => {
            let asked = asked("patch", id.kind, &id.name);
            let doing = format!("ask what would change in `{id}`");
            return Err(effect(&connection.origin.server, &doing, asked, error));
        }
    };
    Ok(Heard {
        said: Some((id.clone(), said)),
        conflicts: vec![(id.clone(), conflicts)],
    })
}

/// What is made where it lies has no value to ask with: whoever else has it would lose it.
async fn in_place(
    connection: &Connection,
    namespace: &str,
    action: &KubernetesAction,
) -> Result<Heard, EffectError> {
    let mut heard = Heard::default();
    for (id, keys) in action.made_in_place() {
        let live = read(connection, namespace, &id, Extent::Metadata).await?;
        let held = live.map(|live| holders(&live, FIELD_MANAGER, &keys));
        heard.conflicts.push((id, held.unwrap_or_default()));
    }
    Ok(heard)
}

async fn read(
    connection: &Connection,
    namespace: &str,
    id: &ObjectId,
    extent: Extent,
) -> Result<Option<Value>, EffectError> {
    let live = connection.get(namespace, id, extent).await;
    live.map_err(|error| {
        let asked = asked("get", id.kind, &id.name);
        let doing = format!("read `{id}`");
        effect(&connection.origin.server, &doing, asked, error)
    })
}

fn refused(id: &ObjectId, error: &RequestError) -> Rehearsal {
    let Some(refusal) = error.refusal() else {
        return Rehearsal::Refused(error.to_string());
    };
    let fields = fixed(refusal);
    if fields.is_empty() {
        // The server names the object first, and so do we.
        let said = refusal.message.as_str();
        let said = said.strip_prefix(&format!("{} \"{}\" ", id.kind.name(), id.name));
        return Rehearsal::Refused(said.unwrap_or(&refusal.message).to_owned());
    }
    Rehearsal::Fixed(fields.into_iter().map(str::to_owned).collect())
}
