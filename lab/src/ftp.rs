//! FTP servers: vsftpd on a node, with anonymous access and a directory that everybody may write to.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Result, ensure};

use super::{Node, Process, eventually};

/// Ports of passive data connections.
const PASSIVE_PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_100;

impl Node {
    /// Starts vsftpd on this node, in both families. Its files are in [`Node::ftp_directory`], which clients see as `/pub`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve_ftp(&self) -> Result<Process> {
        let root = self.directory().join("ftp");
        let empty = self.directory().join("empty");
        fs::create_dir_all(self.ftp_directory())?;
        fs::create_dir_all(&empty)?;
        fs::set_permissions(self.ftp_directory(), fs::Permissions::from_mode(0o777))?;
        let configuration = format!(
            "listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_umask=022
anon_root={}
secure_chroot_dir={}
connect_from_port_20=YES
pasv_min_port={}
pasv_max_port={}
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
",
            root.display(),
            empty.display(),
            PASSIVE_PORTS.start(),
            PASSIVE_PORTS.end(),
        );
        let path = self.directory().join("vsftpd.conf");
        fs::write(&path, configuration)?;
        let mut server = self.spawn("vsftpd", &format!("vsftpd {}", path.display()))?;
        eventually(Duration::from_secs(10), &format!("ftp server on {}", self.name()), || {
            ensure!(server.runs()?, "vsftpd ended: {}", server.log());
            Ok(self.output("curl -s --max-time 1 ftp://127.0.0.1/")?.status.success())
        })?;
        Ok(server)
    }

    /// The directory of this node's FTP server.
    #[must_use]
    pub fn ftp_directory(&self) -> PathBuf {
        self.directory().join("ftp/pub")
    }
}
