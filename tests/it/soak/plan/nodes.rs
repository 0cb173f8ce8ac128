//! Nodes and their users.

use std::time::Instant;

use serde_json::json;

use super::{Ask, Planner, Want};
use crate::soak::model::{Gone, Node, Pool, node_path};

// === impl Planner ===

impl Planner {
    pub(super) fn node(&mut self, id: &str) -> Ask {
        let Some(pool) = self.rng.choice(self.model.pools.keys()).cloned() else { return self.create_pool() };
        let number = self.rng.usize(0..self.model.pools[&pool].nodes.len());
        let path = node_path(&pool, number);
        match self.rng.u32(0..16) {
            0..5 => {
                let disables = self.rng.bool();
                let action = if disables { "disablescheduling" } else { "enablescheduling" };
                let node = self.known_node(&pool, number);
                let is_there = node.scheduling_disabled == disables;
                node.scheduling_disabled = disables;
                let want = if is_there { Want::Refused { refusals: THERE, echoes: true } } else { Want::Done };
                Ask::new("POST", format!("{path}/{action}"), 200, want)
            }
            5..11 => self.user(&pool, number, id),
            11..13 => {
                let node = self.known_node(&pool, number);
                let refusals = if node.rebooted { REBOOTING } else { &[] };
                node.rebooted = true;
                Ask::new("POST", format!("{path}/reboot"), 202, Want::Once { refusals })
            }
            _ => read(&pool, &self.model.pools[&pool], number),
        }
    }

    fn user(&mut self, pool: &str, number: usize, id: &str) -> Ask {
        let users = format!("{}/users", node_path(pool, number));
        let draw = self.rng.u32(0..6);
        let node = &self.model.pools[pool].nodes[number];
        let user = self.rng.choice(node.users.keys()).cloned();
        let Some(user) = user.filter(|_| draw > 1) else {
            let user = self.name("u");
            self.model.made(&format!("{users}/{user}"));
            self.known_node(pool, number).users.insert(user.clone(), Instant::now());
            // Nothing reads a user, so nothing can verify one.
            let want = Want::Made { code: "NodeUserExists", verifiable: false };
            return Ask::new("POST", users, 201, want).body(json!({ "name": user, "password": "secret" }));
        };
        let path = format!("{users}/{user}");
        match draw {
            2 => {
                let want = Want::MadeBefore { code: "NodeUserExists", since: node.users[&user] };
                Ask::new("POST", users, 201, want).body(json!({ "name": user, "password": "other" }))
            }
            3 => Ask::new("PUT", path, 200, Want::Done).body(json!({ "password": "new" })),
            _ => {
                self.known_node(pool, number).users.remove(&user);
                self.model.deleted(Gone { path: path.clone(), status: 200, refusals: USER_GONE }, id);
                Ask::new("DELETE", path, 200, Want::Done)
            }
        }
    }

    fn known_node(&mut self, pool: &str, number: usize) -> &mut Node {
        &mut self.model.pools.get_mut(pool).unwrap().nodes[number]
    }
}

/// A GET, and what it must show.
pub(super) fn read(id: &str, pool: &Pool, number: usize) -> Ask {
    let scheduling = if pool.nodes[number].scheduling_disabled { "disabled" } else { "enabled" };
    Ask::get(node_path(id, number), Want::Shows(vec![("/schedulingState", vec![json!(scheduling)])]))
}

const REBOOTING: &[(u16, &str)] = &[(409, "NodeBeingRebooted")];
const THERE: &[(u16, &str)] = &[(409, "NodeAlreadyInTargetSchedulingState")];
const USER_GONE: &[(u16, &str)] = &[(404, "NodeUserNotFound"), (404, "PoolNotFound"), (409, "PoolBeingDeleted")];
