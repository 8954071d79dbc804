//! Drops all capabilities, which matter when root starts the server.

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// Empties every capability set of this thread, the only one. Returns whether the thread has no capability now.
pub(super) fn drop_all() -> bool {
    // First, because this needs a capability. A process without it (not root) cannot do it and need not: without new
    // privileges, no program gains a capability from this set.
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // The kernel reports an error for the first number that it does not know.
        let Ok(present) = capability_is_in_bounding_set(capability) else { break };
        if present {
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    // Fails before Linux 4.3, where there is no such set. Emptying the others empties it as well.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    // The systemd unit forbids this call and leaves the server no capability, so the state counts, not the result.
    let _ = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    capabilities(None).is_ok_and(|left| (left.effective | left.permitted | left.inheritable).is_empty())
}
