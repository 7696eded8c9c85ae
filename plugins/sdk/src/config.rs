//! From the configuration's JSON to the plugin's type.

use serde::de::DeserializeOwned;

/// The configuration of a processor that has none: only the empty object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoConfig;

impl<'de> serde::Deserialize<'de> for NoConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Empty;

        impl<'de> serde::de::Visitor<'de> for Empty {
            type Value = NoConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an empty object, because this plugin has nothing to configure")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<NoConfig, A::Error> {
                use serde::de::Error;

                match map.next_key::<String>()? {
                    None => Ok(NoConfig),
                    Some(name) => Err(A::Error::custom(format_args!(
                        "unknown field `{}`: this plugin has nothing to configure",
                        name.escape_debug()
                    ))),
                }
            }
        }

        deserializer.deserialize_map(Empty)
    }
}

/// Reads a configuration. The error names the member, what is there, what should be, and the place.
pub(crate) fn parse<C: DeserializeOwned>(json: &[u8]) -> Result<C, String> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let config = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." { format!("config: {inner}") } else { format!("config: {path}: {inner}") }
    })?;
    reader.end().map_err(|error| format!("config: {error}"))?;
    Ok(config)
}
