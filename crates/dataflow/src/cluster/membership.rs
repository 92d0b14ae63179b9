//! Who takes part: the decisions of process 0, without sockets.

use std::collections::BTreeMap;

/// One connection of one process. Another number for each.
pub(crate) type SessionId = u64;

/// The members beside process 0.
#[derive(Debug)]
pub(crate) struct Membership {
    members: BTreeMap<u32, Option<Member>>,
    next: SessionId,
}

#[derive(Debug)]
struct Member {
    session: SessionId,
    incarnation: u64,
    /// Whether it can be told something: its place is kept before it hears that it is welcome.
    is_connected: bool,
    /// The attempt it was told to begin and has not left.
    attempt: Option<u64>,
}

impl Membership {
    /// `processes` with process 0.
    pub(crate) fn new(processes: u32) -> Self {
        Self { members: (1..processes).map(|index| (index, None)).collect(), next: 1 }
    }

    /// A process wants to join. Refused, with the reason, as long as its place is taken: the one who holds it is gone
    /// when its connection is.
    pub(crate) fn join(&mut self, index: u32, incarnation: u64) -> Result<SessionId, String> {
        let Some(place) = self.members.get_mut(&index) else { return Err(format!("there is no process {index}")) };
        match place {
            Some(member) if member.incarnation == incarnation => Err("its last connection is still there".to_owned()),
            Some(_) => Err("another process with this index is connected".to_owned()),
            None => {
                let session = self.next;
                self.next += 1;
                *place = Some(Member { session, incarnation, is_connected: false, attempt: None });
                Ok(session)
            }
        }
    }

    /// A connection that was welcome can be used.
    pub(crate) fn connected(&mut self, session: SessionId) {
        if let Some(member) = self.members.values_mut().flatten().find(|member| member.session == session) {
            member.is_connected = true;
        }
    }

    /// A connection has ended. Returns the process that is gone with it, and whether it took part in an attempt.
    pub(crate) fn lost(&mut self, session: SessionId) -> Option<(u32, Option<u64>)> {
        let (index, place) = self.members.iter_mut().find(|(_, m)| m.as_ref().is_some_and(|m| m.session == session))?;
        place.take().map(|member| (*index, member.attempt))
    }

    /// All are told to begin an attempt.
    pub(crate) fn begin(&mut self, attempt: u64) {
        self.members.values_mut().flatten().for_each(|member| member.attempt = Some(attempt));
    }

    /// A member has left an attempt.
    pub(crate) fn left(&mut self, session: SessionId, attempt: u64) {
        let of_session = |member: &&mut Member| member.session == session && member.attempt == Some(attempt);
        if let Some(member) = self.members.values_mut().flatten().find(of_session) {
            member.attempt = None;
        }
    }

    /// Processes that are not connected, or have not left the last attempt: no attempt can begin without them.
    pub(crate) fn missing(&self) -> Vec<u32> {
        let is_ready = |member: &Option<Member>| {
            member.as_ref().is_some_and(|member| member.is_connected && member.attempt.is_none())
        };
        self.members.iter().filter(|(_, member)| !is_ready(member)).map(|(index, _)| *index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_waits_until_all_are_there_and_have_left_the_last() {
        let mut members = Membership::new(3);
        assert_eq!(members.missing(), [1, 2]);
        let one = members.join(1, 10).unwrap();
        let two = members.join(2, 20).unwrap();
        members.connected(one);
        assert_eq!(members.missing(), [2], "nobody could tell it to begin");
        members.connected(two);
        assert!(members.missing().is_empty());
        members.begin(1);
        assert_eq!(members.missing(), [1, 2]);
        members.left(one, 1);
        members.left(two, 9);
        assert_eq!(members.missing(), [2], "that was another attempt");
        members.left(two, 1);
        assert!(members.missing().is_empty());
    }

    #[test]
    fn a_place_is_free_once_the_connection_of_its_holder_has_ended() {
        let mut members = Membership::new(3);
        let first = members.join(1, 10).unwrap();
        members.begin(1);
        assert!(members.join(1, 11).unwrap_err().contains("another process"));
        assert!(members.join(1, 10).unwrap_err().contains("still there"));
        assert!(members.join(3, 30).is_err());
        assert_eq!(members.lost(first), Some((1, Some(1))));
        assert_eq!(members.lost(first), None, "its end is seen once");
        let second = members.join(1, 11).unwrap();
        members.connected(second);
        members.left(first, 1);
        assert_eq!(members.lost(first), None, "what comes late from an old connection means nothing");
        assert_ne!(first, second);
        assert_eq!(members.missing(), [2]);
    }
}
