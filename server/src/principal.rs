//! Who asks, and what they may do.

use std::sync::Arc;

use crate::model::{TokenRecord, TokenType};

/// Something that a principal may or may not do in a namespace or a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// Create and list everything in the installation.
    TenantCreate,
    /// Create namespaces in a tenant.
    NamespaceCreate,
    /// Issue, list and revoke tokens of a tenant.
    TokenManage,
    /// Download manifests, closures, versions, events; lint.
    ManifestRead,
    /// Upload and roll back.
    ManifestWrite,
    /// Evaluate on the server.
    Evaluate,
    /// Evaluate a public environment.
    EvaluatePublic,
    /// Read a tenant's audit log and who is connected.
    AuditRead,
    /// See what the fleet of the tenant's name does, what it may, and its keys.
    GateRead,
    /// Set what it may, make and revoke its keys.
    GateWrite,
    /// See services, their keys, configs and flags, and what secrets there are.
    SettingsRead,
    /// Set up services, write configs, flags and secrets, make keys that may be public.
    SettingsWrite,
    /// See the value of a secret, and hand out what reads it: keys that are not public, and trust in workloads.
    SecretRead,
}

/// The holder of a live token.
#[derive(Clone, Debug)]
pub struct Principal {
    token: Arc<TokenRecord>,
}

impl Principal {
    /// Makes the principal of a token that was found live.
    #[must_use]
    pub fn of(token: Arc<TokenRecord>) -> Self {
        Self { token }
    }

    /// Returns the token.
    #[must_use]
    pub fn token(&self) -> &TokenRecord {
        &self.token
    }

    /// Returns the token, to be kept.
    #[must_use]
    pub fn shared_token(&self) -> Arc<TokenRecord> {
        Arc::clone(&self.token)
    }

    /// Returns the tenant that the token is bound to; `None` for superadmins.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.token.tenant.as_deref()
    }

    /// Returns true if the principal may do this in the tenant, and in the namespace where one is named.
    ///
    /// `TenantCreate` is asked with any tenant. `EvaluatePublic` says nothing of the environment or its
    /// `public_evaluate`, which the caller checks.
    #[must_use]
    pub fn may(&self, permission: Permission, tenant: &str, namespace: Option<&str>) -> bool {
        use Permission::{
            AuditRead, Evaluate, EvaluatePublic, GateRead, GateWrite, ManifestRead, ManifestWrite,
            NamespaceCreate, SecretRead, SettingsRead, SettingsWrite, TokenManage,
        };
        let in_tenant = self.token.tenant.as_deref() == Some(tenant);
        let in_namespace = in_tenant && namespace.is_some() && self.token.namespace.as_deref() == namespace;
        match self.token.kind {
            TokenType::Superadmin => permission != EvaluatePublic,
            TokenType::TenantAdmin => {
                in_tenant
                    && matches!(
                        permission,
                        NamespaceCreate
                            | TokenManage
                            | ManifestRead
                            | ManifestWrite
                            | Evaluate
                            | AuditRead
                            | GateRead
                            | GateWrite
                            | SettingsRead
                            | SettingsWrite
                            | SecretRead
                    )
            }
            TokenType::NamespaceWrite => {
                in_namespace
                    && matches!(
                        permission,
                        ManifestRead | ManifestWrite | Evaluate | SettingsRead | SettingsWrite
                    )
            }
            TokenType::NamespaceRead => {
                in_namespace && matches!(permission, ManifestRead | Evaluate | SettingsRead)
            }
            TokenType::NamespaceClient => in_namespace && permission == EvaluatePublic,
        }
    }
}
