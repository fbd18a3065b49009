//! Changes that are asked for and not made: a strict dry run of what differs, beside what is there.

use installer_engine::EffectError;
use installer_plan::kubernetes::{FIELD_MANAGER, KubernetesAction, Rehearsal, Rehearsals};
use installer_render::kubernetes::{Object, ObjectId};

use crate::connect::Connection;
use crate::error::{effect, fixed};
use crate::managed::{differences, filled};
use crate::pace::{Pace, perform_all};
use crate::request::{Asked, Extent, RequestError, asked};

/// What came of asking for one change.
enum Heard {
    Said(Rehearsal),
    /// It went away meanwhile: another look tells.
    Gone,
}

/// Asks for each of these changes without making it. Every object has to be there.
pub async fn rehearse(
    connection: &Connection,
    namespace: &str,
    actions: &[&KubernetesAction],
) -> Result<Rehearsals, EffectError> {
    let objects: Vec<&Object> = actions
        .iter()
        .filter_map(|action| match action {
            KubernetesAction::Apply { object, .. } => Some(object),
            _ => None,
        })
        .collect();
    let mut pace = Pace::default();
    let ask = |index: usize| {
        let object = objects.get(index).copied();
        async move {
            match object {
                Some(object) => one(connection, namespace, object).await,
                None => Ok(Heard::Gone),
            }
        }
    };
    let heard = perform_all(&mut pace, &objects, || false, ask).await;
    let mut said = Rehearsals::new();
    for (index, heard) in heard {
        if let (Heard::Said(rehearsal), Some(object)) = (heard?, objects.get(index)) {
            said.insert(object.id.clone(), rehearsal);
        }
    }
    Ok(said)
}

async fn one(
    connection: &Connection,
    namespace: &str,
    object: &Object,
) -> Result<Heard, EffectError> {
    let id = &object.id;
    let failed = |doing: &str, asked: Asked, error: RequestError| {
        effect(&connection.origin.server, doing, asked, error)
    };
    let live = connection.get(namespace, id, Extent::Whole).await;
    let live = live.map_err(|error| {
        let asked = asked("get", id.kind, &id.name);
        failed(&format!("read `{id}`"), asked, error)
    })?;
    let Some(live) = live else {
        return Ok(Heard::Gone);
    };
    let manifest = filled(&object.value(), &live);
    match connection.dry_run(namespace, id, &manifest).await {
        Ok(next) => {
            let fields = differences(id.kind, &live, &next, FIELD_MANAGER);
            Ok(Heard::Said(Rehearsal::Differs(fields)))
        }
        Err(error) if error.retry_after().is_none() && error.refusal().is_some() => {
            Ok(Heard::Said(refused(id, &error)))
        }
        Err(error) => {
            let asked = asked("patch", id.kind, &id.name);
            Err(failed(
                &format!("ask what would change in `{id}`"),
                asked,
                error,
            ))
        }
    }
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
