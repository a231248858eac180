//! A user's role and organization, as Neon Auth's tokens tell them. They are the token's word at the time when it was
//! made, for services that want it: nothing here depends on them.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::names::{ORGANIZATION_ID, ORGANIZATION_ROLE, ORGANIZATION_SLUG, USER_ROLE};

/// The longest of each, in bytes.
const BYTES_MAX: usize = 255;

/// The role of a user, and the organization that they act for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// The user's role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Box<str>>,
    /// The organization that is active, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<Organization>,
}

/// An organization, and what its user is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Organization {
    id: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slug: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Box<str>>,
}

impl Membership {
    /// What of it can travel in a header; `None` if that is nothing. An organization whose id can't is none: a slug and a role
    /// without it would be anybody's.
    pub fn new(role: Option<&str>, organization: Option<Organization>) -> Option<Self> {
        let told = Self { role: role.and_then(told), o: organization };
        (told != Self::default()).then_some(told)
    }

    /// The user's role.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// The organization that is active.
    pub fn organization(&self) -> Option<&Organization> {
        self.o.as_ref()
    }

    /// As headers, those of [`MEMBERSHIP`](crate::MEMBERSHIP) that there is something to say in.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let of = |read: fn(&Organization) -> Option<&str>| self.o.as_ref().and_then(read);
        [
            (USER_ROLE, self.role()),
            (ORGANIZATION_ID, of(|o| Some(o.id()))),
            (ORGANIZATION_SLUG, of(Organization::slug)),
            (ORGANIZATION_ROLE, of(Organization::role)),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, HeaderValue::from_str(text?).ok()?)))
    }

    /// Reads those headers of a verdict, each of which must stand there once; `None` if there are none, or if one can't be
    /// what we write.
    pub fn parse(headers: &HeaderMap) -> Option<Self> {
        // `Some(None)` where there is none.
        let one = |name: HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next();
            values.next().is_none().then(|| value.and_then(|value| value.to_str().ok()))
        };
        let (role, id) = (one(USER_ROLE)?, one(ORGANIZATION_ID)?);
        let (slug, inside) = (one(ORGANIZATION_SLUG)?, one(ORGANIZATION_ROLE)?);
        Self::new(role, id.and_then(|id| Organization::new(id, slug, inside)))
    }
}

impl Organization {
    /// `None` if the id can't travel in a header. A slug or a role that can't is left out.
    pub fn new(id: &str, slug: Option<&str>, role: Option<&str>) -> Option<Self> {
        Some(Self { id: told(id)?, slug: slug.and_then(told), role: role.and_then(told) })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is called in URLs.
    pub fn slug(&self) -> Option<&str> {
        self.slug.as_deref()
    }

    /// The user's role in it; of several, Better Auth separates them by commas.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }
}

fn told(text: &str) -> Option<Box<str>> {
    is_told(text).then(|| text.into())
}

/// Visible ASCII of a bounded length, which is the same before and after a header.
fn is_told(text: &str) -> bool {
    (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organization() -> Option<Organization> {
        Organization::new("o1", Some("acme"), Some("admin,member"))
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for membership in [
            Membership::new(Some("authenticated"), organization()),
            Membership::new(Some("authenticated"), None),
            Membership::new(None, organization()),
            Membership::new(None, Organization::new("o1", None, None)),
        ] {
            let headers = membership.as_ref().unwrap().headers().collect();
            assert_eq!(Membership::parse(&headers), membership);
        }
        assert_eq!(Membership::new(None, None), None);
        assert_eq!(Membership::parse(&HeaderMap::new()), None);
    }

    #[test]
    fn what_can_not_travel_is_left_out_and_an_organization_without_its_id_is_none() {
        let long = "x".repeat(BYTES_MAX + 1);
        for bad in ["", "a b", "a\r\nx-user-id: u2", "ü", "a\0", &long] {
            assert_eq!(Membership::new(Some(bad), None), None, "{bad:?}");
            assert_eq!(Organization::new(bad, Some("acme"), Some("owner")), None, "{bad:?}");
            let kept = Organization::new("o1", Some(bad), Some(bad)).unwrap();
            assert_eq!((kept.slug(), kept.role()), (None, None), "{bad:?}");
        }
        assert!(Membership::new(Some(&long[1..]), None).is_some());
    }

    #[test]
    fn a_header_that_stands_twice_tells_nothing() {
        let membership = Membership::new(Some("authenticated"), organization()).unwrap();
        for name in crate::MEMBERSHIP {
            let mut headers: HeaderMap = membership.headers().collect();
            headers.append(&name, HeaderValue::from_static("owner"));
            assert_eq!(Membership::parse(&headers), None, "{name}");
        }
        let lone = HeaderMap::from_iter([(ORGANIZATION_ROLE, HeaderValue::from_static("owner"))]);
        assert_eq!(Membership::parse(&lone), None, "a role in no organization");
    }
}
