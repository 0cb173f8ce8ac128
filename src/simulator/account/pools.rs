//! Pools. Resizing makes nodes at once and is called finished a moment later; what is done to nodes is in [`super::nodes`].

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Refusal};
use super::super::store::{Resource, Shelf, State, key};
use super::{Account, Call, NOT_SIMULATED, Outcome};

impl Account {
    pub(super) fn on_pool(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        match operation {
            "Pools_ListPools" => {
                let page = call.page(&self.pools)?;
                let render = |pool: &&Resource| call.selected(self.render_pool(pool, call));
                let value: Vec<Value> = page.resources.iter().map(render).collect();
                Ok(call.page_of(&value, page.next.as_deref(), "pools"))
            }
            "Pools_CreatePool" => self.create_pool(call),
            "Pools_PoolExists" => Ok(super::validated(Answer::empty(200), self.pool(call)?)),
            "Pools_GetPool" => {
                let pool = self.shown(self.pool(call), call, NOT_FOUND)?;
                // The conditions are judged by the resource, the allocation state by the clock.
                call.found(pool, "", "pools")?;
                let mut rendered = call.selected(self.render_pool(pool, call));
                rendered["odata.metadata"] = json!(call.url("/$metadata#pools/@Element"));
                Ok(super::validated(Answer::json(&rendered), pool))
            }
            "Pools_DeletePool" => {
                let gone = call.gone(&self.traits);
                let pool = self.pool_to_write(call)?;
                pool.enter(call.now, "deleting", &[(gone, State::Gone)]);
                let answer = call.written(202, pool);
                self.register.deleted(call.path(2), call.id());
                Ok(answer)
            }
            "Pools_UpdatePool" => self.write_pool(call, 200),
            "Pools_ReplacePoolProperties" => self.write_pool(call, 204),
            "Pools_ResizePool" => self.resize_pool(call),
            "Pools_StopPoolResize" => {
                let pool = self.pool_to_write(call)?;
                pool.fields.remove(RESIZED_AT);
                Ok(call.written(202, pool))
            }
            _ => Err(NOT_SIMULATED),
        }
    }

    pub(super) fn pool(&self, call: &Call<'_>) -> Result<&Resource, Refusal> {
        self.pools.get(call.segment(1), call.now).ok_or(NOT_FOUND)
    }

    fn pool_to_write(&mut self, call: &Call<'_>) -> Result<&mut Resource, Refusal> {
        let pool = self.pools.get_mut(call.segment(1), call.now).ok_or(NOT_FOUND)?;
        call.check_conditions(pool)?;
        if pool.state(call.now) == "deleting" { Err(BEING_DELETED) } else { Ok(pool) }
    }

    fn create_pool(&mut self, call: &Call<'_>) -> Outcome {
        let fields = call.request.object()?;
        let id = call.new_id(&fields)?;
        if let Some(pool) = self.pools.get(&id, call.now) {
            return Err(if pool.state(call.now) == "deleting" { BEING_DELETED } else { EXISTS });
        }
        self.traits.admit_pool(self.pools.iter(call.now).count(), self.begun.unwrap_or(call.now), call.now)?;
        let mut pool = Resource::new(&id, fields, self.next_version(), "active", call.now);
        pool.fields.insert(RESIZED_AT.to_owned(), json!(millis(call)));
        let answer = call.created(&pool, &call.url(&format!("/pools/{id}")));
        self.fill_nodes(&pool, call)?;
        self.register.made(format!("/pools/{}", key(&id)));
        self.pools.insert(pool);
        Ok(answer)
    }

    fn write_pool(&mut self, call: &Call<'_>, status: u16) -> Outcome {
        let fields = call.request.object()?;
        let version = self.next_version();
        let pool = self.pool_to_write(call)?;
        pool.change(fields, version, call.now);
        Ok(call.written(status, pool))
    }

    fn resize_pool(&mut self, call: &Call<'_>) -> Outcome {
        let mut fields = call.request.object()?;
        let version = self.next_version();
        let pool = self.pool_to_write(call)?;
        if is_resizing(pool, call) {
            return Err(BEING_RESIZED);
        }
        fields.retain(|name, _| TARGETS.contains(&name.as_str()));
        fields.insert(RESIZED_AT.to_owned(), json!(millis(call)));
        pool.change(fields, version, call.now);
        let answer = call.written(202, pool);
        let pool = pool.clone();
        self.fill_nodes(&pool, call)?;
        Ok(answer)
    }

    /// Makes the nodes that the targets ask for; those that are there stay.
    fn fill_nodes(&mut self, pool: &Resource, call: &Call<'_>) -> Result<(), Refusal> {
        let mut nodes = Shelf::default();
        let kept = self.nodes.remove(&key(&pool.id)).filter(|_| self.pools.get(&pool.id, call.now).is_some());
        for (target, suffix) in TARGETS.iter().zip(["d", "p"]) {
            let wanted = pool.fields.get(*target).and_then(Value::as_u64).unwrap_or(0);
            for number in 1..=wanted.min(MAX_NODES) {
                let id = format!("tvmps_{number:08x}_{suffix}");
                let node = kept.as_ref().and_then(|kept| kept.get(&id, call.now)).cloned().unwrap_or_else(|| {
                    let mut fields = Map::new();
                    fields.insert("schedulingState".to_owned(), json!("enabled"));
                    fields.insert("isDedicated".to_owned(), json!(suffix == "d"));
                    fields.insert("vmSize".to_owned(), pool.fields.get("vmSize").cloned().unwrap_or(Value::Null));
                    Resource::new(&id, fields, self.next_version(), "idle", call.now)
                });
                nodes.insert(node);
            }
        }
        // A node's users go with it.
        let pool = key(&pool.id);
        let is_new = self.pools.get(&pool, call.now).is_none();
        self.users.retain(|[of, node, _]| *of != pool || !is_new && nodes.get(node, call.now).is_some());
        self.nodes.insert(pool, nodes);
        Ok(())
    }

    fn render_pool(&self, pool: &Resource, call: &Call<'_>) -> Value {
        let mut rendered = pool.render(&call.url(&format!("/pools/{}", pool.id)), call.now);
        let resizing = is_resizing(pool, call);
        rendered["allocationState"] = json!(if resizing { "resizing" } else { "steady" });
        for (target, current) in TARGETS.iter().zip(["currentDedicatedNodes", "currentLowPriorityNodes"]) {
            let wanted = pool.fields.get(*target).cloned().unwrap_or_else(|| json!(0));
            rendered[current] = if resizing { json!(0) } else { wanted.clone() };
            rendered[*target] = wanted;
        }
        if let Value::Object(fields) = &mut rendered {
            fields.remove(RESIZED_AT);
        }
        rendered
    }
}

fn is_resizing(pool: &Resource, call: &Call<'_>) -> bool {
    let settle = u64::try_from(super::SETTLE.as_millis()).unwrap_or(u64::MAX);
    pool.fields.get(RESIZED_AT).and_then(Value::as_u64).is_some_and(|at| millis(call) < at + settle)
}

fn millis(call: &Call<'_>) -> u64 {
    let since = call.now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The field, never shown, that holds when the last resize began, in milliseconds since 1970.
const RESIZED_AT: &str = "-resized-at";

/// The fields that say how many nodes a pool shall have.
const TARGETS: [&str; 2] = ["targetDedicatedNodes", "targetLowPriorityNodes"];

/// More nodes than this of one kind are not made, so that a typing error does not fill the memory.
const MAX_NODES: u64 = 10_000;

const BEING_DELETED: Refusal =
    Refusal::new(409, "PoolBeingDeleted", "The specified pool is marked for deletion and is being deleted.");
const BEING_RESIZED: Refusal = Refusal::new(409, "PoolBeingResized", "The specified pool is being resized.");
const EXISTS: Refusal = Refusal::new(409, "PoolExists", "The specified pool already exists.");
const NOT_FOUND: Refusal = Refusal::new(404, "PoolNotFound", "The specified pool does not exist.");
