//! The parts of an admin request's target, refused in the one shape of all refusals.

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{object::bad, refusal::Refusal};

/// The one variable step of a path: a provider's name.
pub(super) struct Step(pub String);

/// What stands behind the `?`.
pub(super) struct Search<T>(pub T);

impl<S: Send + Sync> FromRequestParts<S> for Step {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let step = Path::<String>::from_request_parts(parts, state).await;
        step.map(|Path(name)| Self(name)).map_err(|rejection| bad(rejection.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Search<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|rejection| bad(rejection.body_text()))
    }
}
