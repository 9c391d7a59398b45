//! The `cleanup` section of the normal form.

/// What becomes of earlier stdio gateways of the same file that have lost their client.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanupSettings {
    /// The newest so many are left alone; at least 1.
    pub max_instances: u32,
}

impl Default for CleanupSettings {
    fn default() -> Self {
        Self { max_instances: 9 }
    }
}
