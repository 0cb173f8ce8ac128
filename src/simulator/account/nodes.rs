//! Nodes: reading, rebooting, whether tasks are scheduled on them, and their users. [`super::pools`] makes and removes them.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Refusal};
use super::super::store::{Resource, Shelf, key};
use super::{Account, Call, NOT_SIMULATED, Outcome};

impl Account {
    pub(super) fn on_node(&mut self, operation: &str, call: &Call<'_>) -> Outcome {
        self.pool(call)?;
        match operation {
            "Nodes_ListNodes" => {
                let none = Shelf::default();
                let nodes = self.nodes.get(&key(call.segment(1))).unwrap_or(&none);
                call.listed(&call.page(nodes)?, "nodes", |node| node_url(call, &node.id))
            }
            "Nodes_GetNode" => {
                let node = self.node(call)?;
                call.found(node, &node_url(call, &node.id), "nodes")
            }
            "Nodes_RebootNode" => {
                let node = self.node_to_write(call)?;
                if node.state(call.now) == "rebooting" {
                    return Err(BEING_REBOOTED);
                }
                node.enter(call.now, "rebooting", &call.after(&["idle"]));
                Ok(call.written(202, node))
            }
            "Nodes_DisableNodeScheduling" => self.turn_scheduling(call, "disabled"),
            "Nodes_EnableNodeScheduling" => self.turn_scheduling(call, "enabled"),
            "Nodes_CreateNodeUser" => self.create_user(call),
            "Nodes_ReplaceNodeUser" => {
                call.request.object()?;
                self.user(call)?;
                Ok(user_written(200, call))
            }
            "Nodes_DeleteNodeUser" => {
                let user = self.user(call)?;
                self.users.remove(&user);
                self.register.deleted(user_path(&user), call.id());
                Ok(Answer::empty(200).changing())
            }
            _ => Err(NOT_SIMULATED),
        }
    }

    /// The node of the path.
    fn node(&self, call: &Call<'_>) -> Result<&Resource, Refusal> {
        let nodes = self.nodes.get(&key(call.segment(1)));
        nodes.and_then(|nodes| nodes.get(call.segment(3), call.now)).ok_or(NOT_FOUND)
    }

    fn node_to_write(&mut self, call: &Call<'_>) -> Result<&mut Resource, Refusal> {
        let nodes = self.nodes.get_mut(&key(call.segment(1)));
        nodes.and_then(|nodes| nodes.get_mut(call.segment(3), call.now)).ok_or(NOT_FOUND)
    }

    fn turn_scheduling(&mut self, call: &Call<'_>, target: &'static str) -> Outcome {
        let version = self.next_version();
        let node = self.node_to_write(call)?;
        if node.fields.get("schedulingState").is_some_and(|state| state == target) {
            return Err(ALREADY_THERE);
        }
        node.change(Map::from_iter([("schedulingState".to_owned(), json!(target))]), version, call.now);
        Ok(call.written(200, node))
    }

    fn create_user(&mut self, call: &Call<'_>) -> Outcome {
        self.node(call)?;
        let fields = call.request.object()?;
        let name = fields.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| Refusal::MISSING_PROPERTY.telling("PropertyName", "name"))?;
        let user = [key(call.segment(1)), key(call.segment(3)), key(name)];
        if !self.users.insert(user.clone()) {
            return Err(USER_EXISTS);
        }
        self.register.made(user_path(&user));
        Ok(user_written(201, call))
    }

    /// Pool, node and name of the path's user, who must be there.
    fn user(&self, call: &Call<'_>) -> Result<[String; 3], Refusal> {
        self.node(call)?;
        let user = [key(call.segment(1)), key(call.segment(3)), key(call.segment(5))];
        if self.users.contains(&user) { Ok(user) } else { Err(USER_NOT_FOUND) }
    }
}

/// Users have no ETag and are never read.
fn user_written(status: u16, call: &Call<'_>) -> Answer {
    Answer::empty(status).with("dataserviceid", &call.url(&call.request.path)).changing()
}

fn user_path([pool, node, name]: &[String; 3]) -> String {
    format!("/pools/{pool}/nodes/{node}/users/{name}")
}

fn node_url(call: &Call<'_>, node: &str) -> String {
    call.url(&format!("/pools/{}/nodes/{node}", call.segment(1)))
}

const ALREADY_THERE: Refusal =
    Refusal::new(409, "NodeAlreadyInTargetSchedulingState", "The specified node is already in the target scheduling state.");
const BEING_REBOOTED: Refusal = Refusal::new(409, "NodeBeingRebooted", "The specified node is being rebooted.");
const NOT_FOUND: Refusal = Refusal::new(404, "NodeNotFound", "The specified node does not exist.");
const USER_EXISTS: Refusal = Refusal::new(409, "NodeUserExists", "The specified node user already exists.");
const USER_NOT_FOUND: Refusal = Refusal::new(404, "NodeUserNotFound", "The specified node user does not exist.");
