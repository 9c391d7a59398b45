//! `doctor --processes`: every process and container that belongs to a gateway of this user, live or dead.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{ending, gateways};
use crate::{
    app::state_dir::StateDir,
    census::{self, Ask, Belongs, Client, Containers, Gateway, Held, Member},
    cli::{
        args::Doctor,
        exit::Exit,
        output::{Colour, Out, Table},
    },
    host::Tree,
    telemetry::in_words,
    transport::ContainerOf,
};

/// What there is, at one moment.
pub(super) struct Scene {
    pub gateways: Vec<(Gateway, Option<Client>)>,
    pub members: Vec<Member>,
    pub containers: Containers,
    /// Of this user's state directory; `None`: it has none yet. What bears another is left to whoever has that one.
    instance: Option<String>,
    /// Why no container can be seen.
    pub engine_error: Option<String>,
}

pub(super) async fn processes(typed: &Doctor, out: &mut Out) -> anyhow::Result<Exit> {
    let (end, yes) = (typed.end, typed.yes);
    let scene = Scene::look(typed.config.as_deref()).await;
    let doomed = scene.doomed();
    if !out.json {
        scene.tell(out)?;
    }
    let (ended, exit) = if end {
        ending::end(&scene, &doomed, yes, out).await?
    } else {
        (Vec::new(), if doomed == 0 { Exit::Ok } else { Exit::Found })
    };
    if out.json {
        out.document(&scene.json(doomed, &ended))?;
    } else if doomed > 0 && !end {
        out.line("left-over ones and gateways without a client are ended by: hangar doctor --processes --end")?;
    }
    Ok(exit)
}

impl Scene {
    /// `only`: gateways of this configuration file.
    async fn look(only: Option<&Path>) -> Self {
        let tree = Tree::look();
        let mut found = census::gateways(None, &tree);
        let members = census::marked(&tree, &found);
        let instance = StateDir::locate().known_instance();
        let (containers, engine_error) = match Containers::look(&found, instance.as_deref()).await {
            Ok(containers) => (containers, None),
            Err(why) => (Containers::default(), Some(why)),
        };
        if only.is_some() {
            found = census::gateways(only, &tree);
        }
        let running = found.into_iter().filter(|gateway| gateway.held == Held::Yes && gateway.process.is_some());
        let with_client = |gateway: Gateway| {
            let client = gateway.client(&tree, Ask::For(gateways::ANSWER));
            (gateway, client)
        };
        Self { gateways: running.map(with_client).collect(), members, containers, instance, engine_error }
    }

    pub(super) fn lost(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.iter().filter(|(_, client)| client.is_some_and(Client::is_lost)).map(|(gateway, _)| gateway)
    }

    pub(super) fn left_over(&self) -> impl Iterator<Item = &Member> {
        let mine = |member: &&Member| self.instance.is_some() && member.instance == self.instance;
        self.members.iter().filter(|member| member.belongs == Belongs::LeftOver).filter(mine)
    }

    pub(super) fn left_over_containers(&self) -> impl Iterator<Item = &ContainerOf> {
        let left_over = self.containers.iter().filter(|(_, belongs, _)| *belongs == Belongs::LeftOver);
        left_over.map(|(container, ..)| container)
    }

    /// How many `--end` would end.
    fn doomed(&self) -> usize {
        self.lost().count() + self.left_over().count() + self.left_over_containers().count()
    }

    fn tell(&self, out: &mut Out) -> anyhow::Result<()> {
        let columns = ["PID", "ROLE", "PROVIDER", "GATEWAY", "GENERATION", "UP", "MEMORY", "STATE"];
        let mut table = Table::with_header(&columns);
        for (gateway, client) in &self.gateways {
            let (Some(process), Some(facts)) = (gateway.process, &gateway.facts) else { continue };
            let state = match client {
                Some(client) if client.is_lost() => (format!("has lost its client: {}", client.why()), Colour::Red),
                _ => ("running".to_owned(), Colour::Green),
            };
            let cells = [process.pid.to_string(), "gateway".into(), "-".into(), process.pid.to_string()];
            let more = [short(Some(&facts.generation_id)), up(gateway.uptime), "-".into()];
            table.row(cells.into_iter().chain(more).map(|cell| (cell, Colour::Plain)).chain([state]));
        }
        for member in &self.members {
            let cells =
                [member.process.pid.to_string(), member.role.as_str().into(), or_dash(member.provider.as_ref())];
            let more = [
                or_dash(member.gateway.as_ref()),
                short(member.generation.as_ref()),
                up(member.uptime),
                mebibytes(Some(member.usage.memory_bytes)),
            ];
            let mut state = member.belongs.as_str().to_owned();
            if member.belongs == Belongs::LeftOver && member.instance != self.instance {
                state += ", of another state directory";
            }
            let state = (state, colour(member.belongs));
            table.row(cells.into_iter().chain(more).map(|cell| (cell, Colour::Plain)).chain([state]));
        }
        for (container, belongs, memory) in self.containers.iter() {
            let gateway = container.owner.as_ref().map(|owner| owner.pid());
            let cells =
                ["-".into(), "container".into(), or_dash(container.provider.as_ref()), or_dash(gateway.as_ref())];
            let generation = short(container.generation.as_ref());
            let more = [generation, up(age(container)), mebibytes(memory)];
            let state = format!("{} ({}, {})", belongs.as_str(), container.name, container.state);
            let state = (state, colour(belongs));
            table.row(cells.into_iter().chain(more).map(|cell| (cell, Colour::Plain)).chain([state]));
        }
        out.table(&table)?;
        if let Some(why) = &self.engine_error {
            out.foreign(&format!("containers are not shown: {why}"))?;
        }
        Ok(())
    }

    fn json(&self, doomed: usize, ended: &[Value]) -> Value {
        let gateways = self.gateways.iter().map(|(gateway, client)| gateways::with_client(gateway, *client));
        let members = self.members.iter().map(|member| {
            json!({
                "pid": member.process.pid,
                "role": member.role.as_str(),
                "provider": member.provider,
                "gateway": member.gateway,
                "generation_id": member.generation,
                "instance": member.instance,
                "state": state(member.belongs),
                "uptime_s": member.uptime.map(|uptime| uptime.as_secs()),
                "cpu_ms": u64::try_from(member.usage.cpu.as_millis()).unwrap_or(u64::MAX),
                "memory_bytes": member.usage.memory_bytes,
            })
        });
        let containers = self.containers.iter().map(|(container, belongs, memory)| {
            json!({
                "id": container.id,
                "name": container.name,
                "provider": container.provider,
                "gateway": container.owner.as_ref().map(|owner| owner.pid()),
                "generation_id": container.generation,
                "state": state(belongs),
                "engine_state": container.state,
                "uptime_s": age(container).map(|age| age.as_secs()),
                "memory_bytes": memory,
            })
        });
        json!({
            "status": if doomed == 0 { "fine" } else { "found" },
            "gateways": gateways.collect::<Vec<_>>(),
            "processes": members.collect::<Vec<_>>(),
            "containers": containers.collect::<Vec<_>>(),
            "engine_error": self.engine_error,
            "ended": ended,
        })
    }
}

fn state(belongs: Belongs) -> &'static str {
    match belongs {
        Belongs::ToLiveGateway => "live",
        Belongs::LeftOver => "left_over",
        Belongs::Unknown => "unknown",
    }
}

fn colour(belongs: Belongs) -> Colour {
    match belongs {
        Belongs::ToLiveGateway => Colour::Green,
        Belongs::LeftOver => Colour::Red,
        Belongs::Unknown => Colour::Yellow,
    }
}

fn age(container: &ContainerOf) -> Option<Duration> {
    let now = jiff::Timestamp::now().as_second();
    u64::try_from(now - container.created?).ok().map(Duration::from_secs)
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or("-".into(), ToString::to_string)
}

fn short(generation: Option<&String>) -> String {
    generation.map_or("-".into(), |generation| generation.chars().take(8).collect())
}

fn up(uptime: Option<Duration>) -> String {
    uptime.map_or("-".into(), |uptime| in_words(uptime.as_secs()))
}

fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or("-".into(), |bytes| format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024))
}
