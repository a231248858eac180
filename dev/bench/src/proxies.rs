//! How many authenticated requests a core passes on in a second, beside other authenticating proxies.
//!
//! Each peer is pinned to one core with everything that it needs there, auth-verifier included; wrk and the upstream have
//! another. All check the same HS256 tokens, of 1000 users. Peers take turns, round after round, as in [`crate::cost`].

use std::{ffi::OsStr, fs, io, net::SocketAddr, time::Duration};

use crate::{
    capacity::{self, Sample, Wrk},
    kinds::forged,
    median,
    server::{self, CORE, LOAD_CORE, Server, Under, free},
    services::Services,
    table::{Table, short},
    world::{self, SECRET, USERS, World, claims},
};

/// The file with the header lines of the load.
const LOAD: &str = "proxies.load";

/// The path that is asked for.
const PATH: &str = "/api/tasks";

/// What this needs and this machine lacks, and how to get it.
pub fn missing() -> Option<&'static str> {
    let tools = [("haproxy", "haproxy: apt-get install haproxy"), ("caddy", "caddy: apt-get install caddy")];
    capacity::missing().or_else(|| server::missing_of(&tools))
}

struct Peer<'a> {
    name: &'static str,
    /// The first is asked; all are counted.
    servers: Vec<&'a Server>,
    /// Whether it checks who is calling.
    authenticates: bool,
    samples: Vec<Sample>,
}

/// Measures every peer in so many rounds, for so long each time. `exe` is this program.
pub fn measure(world: &World, exe: &OsStr, rounds: usize, time: Duration) -> io::Result<Table> {
    if let Some(missing) = missing() {
        return Err(io::Error::other(format!("missing: {missing}")));
    }
    let folder = world.folder();
    let services = Services { world, exe, programs: None };
    let core = Under::Core(CORE);
    // `FILE` in the arguments is the configuration.
    let start = |under,
                 program: &str,
                 arguments: &[&str],
                 file: &str,
                 configuration: &dyn Fn(SocketAddr) -> String| {
        let address = free()?;
        let path = folder.join(file);
        fs::write(&path, configuration(address))?;
        let path = path.to_string_lossy().into_owned();
        let arguments: Vec<_> =
            arguments.iter().map(|&own| if own == "FILE" { &*path } else { own }).collect();
        Server::start(under, program.as_ref(), &arguments, Vec::new(), folder, address)
    };
    let prefix = folder.to_string_lossy().into_owned();
    let nginx = |under, file: &str, server: &dyn Fn(SocketAddr) -> String| {
        let pid = format!("{file}.pid");
        let arguments = ["-p", &prefix, "-c", "FILE"];
        start(under, "nginx", &arguments, file, &|address| nginx(&pid, &server(address)))
    };
    let haproxy = |file: &str, rules: &str, up: SocketAddr| {
        start(core, "haproxy", &["-db", "-f", "FILE"], file, &|address| haproxy(address, rules, up))
    };

    let up = nginx(Under::Core(LOAD_CORE), "upstream.conf", &upstream)?;
    let verifier = services.auth_verifier(core, &[])?;
    let gateway = services.gateway(core, verifier.address, up.address, &[])?;
    let with_jwt = haproxy("haproxy-jwt.cfg", &jwt_rules(), up.address)?;
    let plain_haproxy = haproxy("haproxy.cfg", "", up.address)?;
    let plain_nginx = nginx(core, "plain.conf", &|address| plain(address, up.address))?;
    let asking_nginx =
        nginx(core, "asking.conf", &|address| auth_request(address, up.address, verifier.address))?;
    let caddy = start(
        core,
        "caddy",
        &["run", "--adapter", "caddyfile", "--config", "FILE"],
        "Caddyfile",
        &|address| caddyfile(address, up.address, verifier.address),
    )?;
    let forwarder = {
        let address = free()?;
        let arguments = ["forwarder", &address.to_string(), &up.address.to_string()];
        Server::start(core, exe, &arguments, Vec::new(), folder, address)?
    };

    let mut peers = [
        ("HAProxy, `jwt_verify` in the process", true, vec![&with_jwt]),
        ("gateway and auth-verifier", true, vec![&gateway, &verifier]),
        ("nginx, `auth_request` to auth-verifier", true, vec![&asking_nginx, &verifier]),
        ("Caddy, `forward_auth` to auth-verifier", true, vec![&caddy, &verifier]),
        ("HAProxy, no authentication", false, vec![&plain_haproxy]),
        ("nginx, no authentication", false, vec![&plain_nginx]),
        ("the thinnest forwarder of hyper, no authentication", false, vec![&forwarder]),
    ]
    .map(|(name, authenticates, servers)| Peer { name, servers, authenticates, samples: Vec::new() });

    let token = |number| world.issuer("HS256").token(None, &claims(&world::user(number)));
    let lines: Vec<_> = (0..USERS).map(|number| format!("authorization: Bearer {}", token(number))).collect();
    fs::write(folder.join(LOAD), lines.join("\n"))?;
    for peer in peers.iter().filter(|peer| peer.authenticates) {
        check(peer, &lines[7])?;
    }
    let wrk = Wrk::new(folder)?;
    // Once for nothing, so that connections are open.
    for round in 0..=rounds {
        for peer in &mut peers {
            let sample = wrk.load(&peer.servers, PATH, &folder.join(LOAD), time)?;
            if round > 0 {
                peer.samples.push(sample);
            }
        }
    }
    Ok(report(&peers))
}

/// A token reaches the upstream as its user, whoever else the client names; a forged one doesn't.
fn check(Peer { name, servers, .. }: &Peer<'_>, line: &str) -> io::Result<()> {
    let good = servers[0].get(PATH, &[line, "x-user-id: evil"])?;
    assert_eq!((good.status, good.header("x-seen-user")), (200, Some("u7")), "{name}");
    let bad = servers[0].get(PATH, &[&forged(line), "x-user-id: evil"])?;
    assert_eq!((bad.status, bad.header("x-seen-user")), (401, None), "{name}, forged");
    Ok(())
}

fn report(peers: &[Peer<'_>]) -> Table {
    let head = [
        "on one core",
        "per second",
        "beside HAProxy",
        "CPU, µs each",
        "beside HAProxy",
        "99th percentile, ms",
    ];
    let mut table = Table::new(&head);
    let first = &peers[0].samples;
    for Peer { name, samples, .. } in peers {
        let beside = |of: fn(&Sample) -> f64| {
            short(median(samples.iter().zip(first).map(|(sample, first)| of(sample) / of(first))))
        };
        table.row([
            (*name).to_owned(),
            short(median(samples.iter().map(|sample| sample.per_second))),
            beside(|sample| sample.per_second),
            short(median(samples.iter().map(|sample| sample.micros))),
            beside(|sample| sample.micros),
            short(median(samples.iter().filter_map(|sample| sample.slow)) / 1e3),
        ]);
    }
    table
}

fn nginx(pid: &str, server: &str) -> String {
    format!(
        "daemon off; master_process off; error_log stderr error; pid {pid};
         events {{ worker_connections 4096; }}
         http {{
             access_log off; keepalive_requests 1000000000;
             client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
             proxy_http_version 1.1; proxy_set_header Connection '';
             {server}
         }}"
    )
}

fn upstream(listen: SocketAddr) -> String {
    format!(
        "server {{ listen {listen}; default_type application/json; location / {{
             add_header X-Seen-User $http_x_user_id; return 200 '{{\"tasks\":[],\"total\":0}}';
         }} }}"
    )
}

fn pool(name: &str, server: SocketAddr) -> String {
    format!("upstream {name} {{ server {server}; keepalive 256; keepalive_requests 1000000000; }}")
}

fn plain(listen: SocketAddr, up: SocketAddr) -> String {
    format!("{} server {{ listen {listen}; location / {{ proxy_pass http://up; }} }}", pool("up", up))
}

fn auth_request(listen: SocketAddr, up: SocketAddr, verifier: SocketAddr) -> String {
    format!(
        "{} {}
         server {{
             listen {listen};
             location = /.verify {{
                 internal; proxy_pass http://verifier/verify; proxy_pass_request_body off;
                 proxy_set_header Content-Length ''; proxy_set_header Connection '';
             }}
             location / {{
                 auth_request /.verify; auth_request_set $user $upstream_http_x_user_id;
                 proxy_pass http://up; proxy_set_header X-User-Id $user; proxy_set_header Connection '';
             }}
         }}",
        pool("up", up),
        pool("verifier", verifier),
    )
}

fn haproxy(listen: SocketAddr, rules: &str, up: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend public
  bind {listen}
{rules}
  default_backend up
backend up
  server up {up} maxconn 4096
"
    )
}

/// What HAProxy can check of a token by itself.
fn jwt_rules() -> String {
    format!(
        "  http-request del-header x-user-id
  http-request set-var(txn.bearer) http_auth_bearer
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_header_query('$.alg') -m str HS256 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify('HS256',\"{SECRET}\") -m int 1 }}
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request set-header x-user-id %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-response set-header access-control-allow-origin http://localhost:3000
  http-response set-header vary origin"
    )
}

/// In the order of a `route`: by itself Caddy strips the header after it has set it.
fn caddyfile(listen: SocketAddr, up: SocketAddr, verifier: SocketAddr) -> String {
    format!(
        "{{
	admin off
	auto_https off
	log {{
		level ERROR
	}}
}}
http://:{} {{
	bind 127.0.0.1
	route {{
		request_header -X-User-Id
		forward_auth {verifier} {{
			uri /verify
			copy_headers X-User-Id
		}}
		reverse_proxy {up}
	}}
}}
",
        listen.port()
    )
}
