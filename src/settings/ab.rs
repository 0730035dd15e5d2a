//! Flags for single users, as the service decides them.

use std::collections::HashMap;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    NexusClient, NexusError,
    client::Shared,
    service::{BODY_LIMIT, odd_answer, read_wiped},
    writes::{carrying, json},
};
use crate::live::block_on;

/// The service takes so many keys at once.
const AT_ONCE: usize = 200;

#[derive(Serialize)]
struct Question<'a> {
    keys: &'a [&'a str],
    user_id: &'a str,
    attributes: &'a HashMap<String, Value>,
}

#[derive(Deserialize)]
struct Answer {
    results: HashMap<String, bool>,
}

impl NexusClient {
    /// Asks the service whether flags are on for a user; those that it does not know are off. More than 200 keys take
    /// several requests.
    ///
    /// # Errors
    /// `BadRequest` for attributes that are no strings, before anybody is asked; `AbAddonNotAvailable` where the service
    /// does not do it; what it refuses with besides, or what kept it from answering.
    pub fn evaluate_ab(
        &self,
        keys: &[&str],
        user_id: &str,
        attributes: &HashMap<String, Value>,
    ) -> Result<HashMap<String, bool>, NexusError> {
        block_on(self.shared.evaluate(keys, user_id, attributes))
    }
}

impl Shared {
    pub(super) async fn evaluate(
        &self,
        keys: &[&str],
        user_id: &str,
        attributes: &HashMap<String, Value>,
    ) -> Result<HashMap<String, bool>, NexusError> {
        self.check_open()?;
        if !attributes.values().all(Value::is_string) {
            return Err(NexusError::BadRequest);
        }
        let mut all = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            let request = self.service.request(Method::POST, "/v1/flags/evaluate-ab")?;
            let uri = request.uri.clone();
            let request = carrying(request, json(&Question { keys, user_id, attributes })?);
            let response = self.service.send("evaluate_ab", request).await?;
            if response.status != StatusCode::OK {
                return Err(odd_answer(&uri, "the answer has no content").into());
            }
            let content = read_wiped(response, BODY_LIMIT).await?;
            let answer: Answer = serde_json::from_slice(&content)
                .map_err(|error| NexusError::malformed("the service's answer", &error))?;
            // What was not asked for is not believed.
            all.extend(keys.iter().map(|key| ((*key).to_owned(), answer.results.get(*key) == Some(&true))));
        }
        Ok(all)
    }
}
