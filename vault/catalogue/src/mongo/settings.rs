//! What has to be known of a database.

use camino::Utf8PathBuf;

/// Where the database is and how it lets us in.
#[derive(Clone, PartialEq, Eq)]
pub struct MongoSettings {
    /// `mongodb://HOST[:PORT][,HOST[:PORT]…]/[?replicaSet=NAME]`, without user and password.
    pub uri: String,
    pub database: String,
    pub login: Option<MongoLogin>,
    pub tls: bool,
    /// PEM of the roots to trust instead of Mozilla's.
    pub ca_file: Option<Utf8PathBuf>,
    /// PEM of our own certificate and then its key, for a database that asks for one.
    pub identity: Option<Vec<u8>>,
}

impl std::fmt::Debug for MongoSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoSettings")
            .field("uri", &self.uri)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct MongoLogin {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for MongoLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MongoLogin(***)")
    }
}
