//! Why a group did not get a call to any member: which of them are in what state, and when it is worth coming again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Errand, Group, Providers};
use crate::{
    config::ProviderName,
    provider::{ProviderState, seconds},
};

#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "group \"{group}\" {why}{} [fault: upstream{}]", listed(.members),
    .retry_after.map(|left| format!("; it is tried again in {:.1} s", left.as_secs_f64())).unwrap_or_default()
)]
pub struct NoMember {
    pub group: ProviderName,
    pub why: Why,
    pub members: Vec<MemberTold>,
    /// Until the first of them may be called again.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum Why {
    #[error("has {healthy} of {of} members healthy and needs {wanted} (min_healthy)")]
    TooFew { healthy: usize, of: usize, wanted: u32 },
    #[error(
        "takes no calls{}: {failures} in a row got no answer (circuit_breaker)",
        .left.map_or_else(|| " until the one that is tried now is answered".to_owned(), |left| format!(" for another {:.1} s", left.as_secs_f64()))
    )]
    Open { failures: u32, left: Option<Duration> },
    #[error("has no member that may be called now")]
    Exhausted,
    #[error("has no further member to try; the call was sent to none")]
    AllFailed,
    #[error("cannot go on with what its member \"{member}\" has begun, which is out of service; begin the call anew")]
    MemberGone { member: String },
}

/// As it is at that moment.
#[derive(Debug, Clone)]
pub struct MemberTold {
    pub id: ProviderName,
    /// `None`: it is not in service.
    pub state: Option<ProviderState>,
    /// `healthy` | `trial` | `unhealthy` | `waiting` | `disabled`
    pub health: &'static str,
    pub cause: Option<String>,
    pub retry_after: Option<Duration>,
}

impl Why {
    /// Nobody is left.
    pub(super) fn of_the_tried(errand: &Errand) -> Self {
        if errand.tried().is_empty() { Self::Exhausted } else { Self::AllFailed }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "too_few_healthy",
            Self::Open { .. } => "circuit_open",
            Self::Exhausted | Self::AllFailed => "no_member",
            Self::MemberGone { .. } => "member_gone",
        }
    }
}

impl NoMember {
    /// Short, stable, for programs.
    pub fn name(&self) -> &'static str {
        "group_unavailable"
    }

    /// The `data` of the JSON-RPC error.
    pub fn details(&self) -> Value {
        let of = |member: &MemberTold| {
            json!({
                "id": member.id,
                "state": member.state,
                "health": member.health,
                "cause": member.cause,
                "retry_after_ms": member.retry_after.map(|left| left.as_millis() as u64),
            })
        };
        json!({
            "error": self.name(),
            "group": self.group,
            "reason": self.why.name(),
            "fault": "upstream",
            "members": self.members.iter().map(of).collect::<Vec<_>>(),
            "retry_after": self.retry_after.map(seconds),
            "retry_after_ms": self.retry_after.map(|left| left.as_millis() as u64),
        })
    }
}

impl Group {
    pub(super) fn refusal(&self, why: Why, all: &Providers, errand: &Errand) -> NoMember {
        self.telemetry.metrics.groups.refused(self.name.as_str(), why.name());
        let said = |id: &ProviderName| errand.tried().iter().find(|(tried, _)| tried == id.as_str());
        let known = self.look(all);
        let now = Instant::now();
        let standings = self.standings(&self.core(), &known, now);
        let mut members = Vec::with_capacity(standings.len());
        for ((spec, standing), known) in self.spec.members.iter().zip(standings).zip(&known) {
            let failure = || known.as_ref().and_then(|(provider, _)| provider.status().cause());
            let cause = match said(&spec.id) {
                Some((_, error)) => Some(error.to_string()),
                None if standing.retry_after().is_some() => failure(),
                None => None,
            };
            members.push(MemberTold {
                id: spec.id.clone(),
                state: known.as_ref().map(|(_, load)| load.state),
                health: standing.as_str(),
                cause,
                retry_after: standing.retry_after(),
            });
        }
        let retry_after = match why {
            Why::Open { left, .. } => left,
            _ => members.iter().filter_map(|member| member.retry_after).min(),
        };
        NoMember { group: self.name.clone(), why, members, retry_after }
    }
}

/// `: a is dead, unhealthy: it exited with code 3; b is disabled`
fn listed(members: &[MemberTold]) -> String {
    let one = |member: &MemberTold| {
        let state = member.state.map(|state| format!("{state}, ")).unwrap_or_default();
        let cause = member.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        let again = member.retry_after.map(|left| format!(" (again in {:.1} s)", left.as_secs_f64()));
        format!("{} is {state}{}{}{cause}", member.id, member.health, again.unwrap_or_default())
    };
    format!(": {}", members.iter().map(one).collect::<Vec<_>>().join("; "))
}
