//! Redirects that a device refused, as the kernel's tracepoints report them.

shared! {
    /// Key of `REFUSED`, whose values are packets.
    pub struct RefusedKey [16] {
        /// The kernel's id of the device map that named the target; 0: not reported.
        pub map_id: u32,
        /// ifindex of the NIC by which the packets came.
        pub from: u32,
        /// ifindex of the NIC that refused them.
        pub to: u32,
        /// Why, as a negative errno; 0: its queue was full.
        pub error: i32,
    }
}
