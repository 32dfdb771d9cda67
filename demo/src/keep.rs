//! `--keep`: the laboratory stays up, and the demo lists what to try in it.

use dispatcher_lab::VIP4;

use crate::{show::Show, stage::Stage};

impl Stage {
    /// Leaves everything up, and lists what to try.
    pub(crate) fn keep(self, show: &mut Show) {
        show.step("The lab stays up; this is what to try in it");
        let (lb, client) = (self.lab.lb.namespace(), self.lab.client().namespace());
        let (socket, config) = (self.lab.directory().join("api.sock"), self.daemon.config());
        show.say(&format!("export DISPATCHER_API_SOCKET={}", socket.display()));
        show.say(&format!(
            "alias dispatcher='nsenter --net=/run/netns/{lb} {}'",
            self.binary.display()
        ));
        show.say(&format!("alias client='nsenter --net=/run/netns/{client}'"));
        show.say("");
        show.say(&format!("for i in $(seq 12); do client curl -s http://{VIP4}/; done"));
        show.say("dispatcher status; dispatcher backends web; dispatcher connections");
        show.say(
            "dispatcher weight web web-1 20; dispatcher down web web-2; dispatcher up web web-2",
        );
        show.say(&format!(
            "dispatcher events & kill -KILL -{}      # web-2's nginx; its advisor takes it out",
            self.servers[1].pid()
        ));
        show.say(&format!("$EDITOR {}; dispatcher plan; dispatcher reload", config.display()));
        show.say(&format!("nsenter --net=/run/netns/{lb} curl -s 127.0.0.1:9464/metrics"));
        show.say(&format!(
            "nsenter --net=/run/netns/{lb} tcpdump -eni eth0      # no reply passes here"
        ));
        for server in self.servers {
            server.release();
        }
        self.daemon.release();
        let take_down = self.lab.keep();
        show.say("");
        show.say("to remove everything:");
        show.say(&take_down);
    }
}
