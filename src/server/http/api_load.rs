//! `POST /api/providers/{name}/load`, `/unload`: by name only; what is run stands in the configuration file.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{Front, api::ok, api_config::trigger, object::Object, parts::Step, refusal::Refusal};
use crate::reload::{LoadRefusal, LoadResult};

pub(super) async fn load(
    State(front): State<Arc<Front>>,
    Step(name): Step,
    request: Request,
) -> Result<Response, Refusal> {
    let by = by(&front, request).await?;
    told(front.state.reload.load(&name, by).await)
}

pub(super) async fn unload(
    State(front): State<Arc<Front>>,
    Step(name): Step,
    request: Request,
) -> Result<Response, Refusal> {
    let by = by(&front, request).await?;
    told(front.state.reload.unload(&name, by).await)
}

/// Who asks; with nothing in the body.
async fn by(front: &Front, request: Request) -> Result<&'static str, Refusal> {
    let (head, body) = request.into_parts();
    Object::receive(&head.headers, body, front, &[]).await?;
    Ok(trigger(&head.headers).as_str())
}

fn told(result: LoadResult) -> Result<Response, Refusal> {
    match result {
        Ok(view) => Ok(ok(&view)),
        Err(LoadRefusal { code, message, details }) => {
            let status = match code {
                "unknown_provider" => StatusCode::NOT_FOUND,
                "shutdown" => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::CONFLICT,
            };
            Err(Refusal { details, ..Refusal::new(status, code, message) })
        }
    }
}
