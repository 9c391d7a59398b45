//! Which of the members that may be called is called. Pure but for `random`.

use crate::config::{GroupMember, Strategy};

/// What strategies remember between calls.
#[derive(Debug)]
pub(super) struct Memory {
    /// Where the last turn ended.
    last: usize,
    /// Of each member: what it is owed (smooth weighted round robin).
    owed: Vec<i64>,
}

/// A member that may be called now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// In the group.
    pub index: usize,
    /// Its calls that run or wait.
    pub load: usize,
}

impl Memory {
    pub(super) fn new(members: usize) -> Self {
        Self { last: members.saturating_sub(1), owed: vec![0; members] }
    }

    /// The index of a member; `None` when there is no candidate.
    pub(super) fn choose(
        &mut self,
        strategy: Strategy,
        members: &[GroupMember],
        candidates: &[Candidate],
    ) -> Option<usize> {
        let weight = |candidate: &Candidate| members.get(candidate.index).map_or(1, |m| u64::from(m.weight));
        match strategy {
            Strategy::RoundRobin => self.next(members.len(), candidates),
            Strategy::WeightedRoundRobin => self.most_owed(members, candidates),
            Strategy::LeastConnections => {
                // Compared as fractions of the weight, without dividing.
                let lighter =
                    |a: &Candidate, b: &Candidate| (a.load as u64 * weight(b)).cmp(&(b.load as u64 * weight(a)));
                let least = candidates.iter().min_by(|a, b| lighter(a, b))?;
                let ties: Vec<_> = candidates.iter().filter(|c| lighter(c, least).is_eq()).copied().collect();
                self.most_owed(members, &ties)
            }
            Strategy::Random => {
                let total: u64 = candidates.iter().map(weight).sum();
                let mut drawn = if total == 0 { 0 } else { fastrand::u64(..total) };
                let hit = candidates.iter().find(|candidate| {
                    let hit = drawn < weight(candidate);
                    drawn = drawn.saturating_sub(weight(candidate));
                    hit
                });
                hit.or(candidates.first()).map(|candidate| candidate.index)
            }
            Strategy::Priority => {
                let priority = |candidate: &Candidate| members.get(candidate.index).map(|m| m.priority);
                let first = candidates.iter().map(priority).min()?;
                let equals: Vec<_> = candidates.iter().filter(|c| priority(c) == first).copied().collect();
                self.next(members.len(), &equals)
            }
        }
    }

    /// The first behind the last one taken.
    fn next(&mut self, members: usize, candidates: &[Candidate]) -> Option<usize> {
        let behind = |candidate: &&Candidate| (candidate.index + members - self.last - 1) % members.max(1);
        self.last = candidates.iter().min_by_key(behind)?.index;
        Some(self.last)
    }

    /// Each candidate is owed its weight more; who is owed most is taken and pays what all were given. So weights 5, 1, 1
    /// give a a b a c a a, not a a a a a b c.
    fn most_owed(&mut self, members: &[GroupMember], candidates: &[Candidate]) -> Option<usize> {
        let mut given = 0;
        let mut taken: Option<(usize, i64)> = None;
        for candidate in candidates {
            let (Some(member), Some(owed)) = (members.get(candidate.index), self.owed.get_mut(candidate.index)) else {
                continue;
            };
            let weight = i64::from(member.weight);
            *owed += weight;
            given += weight;
            if taken.is_none_or(|(_, most)| *owed > most) {
                taken = Some((candidate.index, *owed));
            }
        }
        let (index, _) = taken?;
        if let Some(owed) = self.owed.get_mut(index) {
            *owed -= given;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProviderName;

    fn members(of: &[(u32, u32)]) -> Vec<GroupMember> {
        let one = |(at, (weight, priority)): (usize, &(u32, u32))| GroupMember {
            id: ProviderName::new(&format!("m{at}")).unwrap(),
            weight: *weight,
            priority: *priority,
        };
        of.iter().enumerate().map(one).collect()
    }

    fn all(loads: &[usize]) -> Vec<Candidate> {
        loads.iter().enumerate().map(|(index, load)| Candidate { index, load: *load }).collect()
    }

    fn sequence(strategy: Strategy, members: &[GroupMember], candidates: &[Candidate], n: usize) -> String {
        let mut memory = Memory::new(members.len());
        let taken = (0..n).map(|_| memory.choose(strategy, members, candidates).unwrap());
        taken.map(|index| char::from(b'a' + index as u8)).collect()
    }

    #[test]
    fn turns_are_exact() {
        let three = members(&[(5, 2), (1, 1), (1, 1)]);
        let free = all(&[0, 0, 0]);
        assert_eq!(sequence(Strategy::RoundRobin, &three, &free, 7), "abcabca");
        assert_eq!(sequence(Strategy::RoundRobin, &three, &free[1..], 4), "bcbc");
        assert_eq!(sequence(Strategy::WeightedRoundRobin, &three, &free, 14), "aabacaaaabacaa");
        assert_eq!(sequence(Strategy::WeightedRoundRobin, &three, &free[1..], 4), "bcbc");
        assert_eq!(sequence(Strategy::Priority, &three, &free, 4), "bcbc");
        assert_eq!(sequence(Strategy::Priority, &three, &free[..1], 2), "aa");
        assert!(Memory::new(0).choose(Strategy::RoundRobin, &[], &[]).is_none());
    }

    #[test]
    fn the_least_loaded_is_taken_by_share_and_ties_take_turns() {
        let two = members(&[(2, 1), (1, 1)]);
        assert_eq!(sequence(Strategy::LeastConnections, &two, &all(&[3, 1]), 2), "bb");
        assert_eq!(sequence(Strategy::LeastConnections, &two, &all(&[3, 2]), 2), "aa", "3 of 2 is less than 2 of 1");
        assert_eq!(sequence(Strategy::LeastConnections, &two, &all(&[0, 0]), 6), "abaaba");
    }

    #[test]
    fn chance_follows_the_weights() {
        let two = members(&[(3, 1), (1, 1)]);
        let taken = sequence(Strategy::Random, &two, &all(&[0, 0]), 4000);
        let first = taken.bytes().filter(|b| *b == b'a').count();
        assert!((2800..3200).contains(&first), "{first} of 4000, about 3000 wanted");
    }
}
