//! The checkpoint's chat template, rendered as transformers renders it: jinja with `trim_blocks` and
//! `lstrip_blocks`, `tojson` without HTML escapes, `raise_exception`.
//!
//! Templates are untrusted, so they run with bounded fuel, recursion and text, and without a loader.

mod limits;
mod operators;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use serde::Serialize;

/// Instruction limit of one rendering; a long conversation takes some tens per message part.
const FUEL: u64 = 20_000_000;
/// Maximum size of a template.
const MAX_SOURCE: usize = 256 << 10;
/// Maximum size of the text that a rendering can take from the template itself. Every step can take one piece.
const MAX_PIECES: usize = 256 << 20;
const MAX_RECURSION: usize = 64;
const NAME: &str = "chat_template";

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
}

/// One message in the shape that templates expect.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: &'static str,
    /// Text, or the list of parts.
    pub content: TemplateContent,
    /// Additional fields, such as tool calls.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Content of a message.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TemplateContent {
    /// Only text.
    Text(String),
    /// Text, images and videos in order.
    Parts(Vec<TemplatePart>),
}

/// One part of a message.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TemplatePart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image,
    /// A video.
    Video,
}

impl ChatTemplate {
    /// Finds and compiles the template: `chat_template.jinja`, `chat_template.json`, or the one in `tokenizer_config.json`.
    /// `read` returns a file's bytes or `None`.
    ///
    /// # Errors
    /// Names the files that were looked for, or the template's error.
    pub fn read(read: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, String> {
        let inside = |file: &str| -> Result<Option<String>, String> {
            let Some(bytes) = read(file) else { return Ok(None) };
            let value: serde_json::Value =
                serde_json::from_slice(&bytes).map_err(|error| format!("{file}: {error}"))?;
            Ok(named_template(&value["chat_template"]))
        };
        let source = match read("chat_template.jinja") {
            Some(bytes) => {
                Some(String::from_utf8(bytes).map_err(|_| "chat_template.jinja is not UTF-8".to_owned())?)
            }
            None => match inside("chat_template.json")? {
                Some(source) => Some(source),
                None => inside("tokenizer_config.json")?,
            },
        };
        let source = source.ok_or(
            "no chat template; chat_template.jinja, chat_template.json or chat_template in \
             tokenizer_config.json would fit",
        )?;
        Self::new(source)
    }

    /// Compiles a template.
    ///
    /// # Errors
    /// The template's syntax error.
    pub fn new(source: String) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            let size = source.len();
            return Err(format!("chat template: it has {size} bytes; at most {MAX_SOURCE} would fit"));
        }
        let source = operators::bounded(&source).map_err(|error| format!("chat template: {error}"))?;
        // At least as long as the longest piece of plain text, and the longest text in quotes.
        let longest = source.split(['{', '}']).map(str::len).max().unwrap_or(0);
        let fuel = FUEL.min((MAX_PIECES / longest.max(1)) as u64);
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(fuel));
        environment.set_recursion_limit(MAX_RECURSION);
        // Templates of the Thinking models also call Python string methods (startswith, split, strip, …).
        limits::install(&mut environment);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, source).map_err(|error| format!("chat template: {error}"))?;
        Ok(Self { environment })
    }

    /// Renders a conversation, with `add_generation_prompt` up to the start of the assistant's message. `more` are additional
    /// variables: tools and template arguments.
    ///
    /// # Errors
    /// The template's own exception (roles in a wrong order, …), or that it exceeds its limits.
    pub fn render(
        &self,
        messages: &[TemplateMessage],
        more: &serde_json::Map<String, serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, String> {
        let template =
            self.environment.get_template(NAME).map_err(|error| format!("chat template: {error}"))?;
        let more = Value::from_serialize(more);
        let mut prompt = BoundedOutput::default();
        let context = context! { messages, add_generation_prompt, ..more };
        template.render_captured_to(context, &mut prompt).map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => "chat template: takes too long".to_owned(),
            ErrorKind::WriteFailure => {
                format!("chat template: the prompt is too long; at most {} bytes would fit", limits::MAX_TEXT)
            }
            _ => format!("chat template: {}", error.detail().unwrap_or("failed")),
        })?;
        String::from_utf8(prompt.0).map_err(|_| "chat template: its text is not UTF-8".to_owned())
    }
}

/// The prompt, which fails to grow beyond [`limits::MAX_TEXT`].
#[derive(Default)]
struct BoundedOutput(Vec<u8>);

impl std::io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > limits::MAX_TEXT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A template is a string, or a list of {name, template} with a `default`.
fn named_template(value: &serde_json::Value) -> Option<String> {
    if let Some(source) = value.as_str() {
        return Some(source.to_owned());
    }
    let entry = value.as_array()?.iter().find(|entry| entry["name"] == "default")?;
    Some(entry["template"].as_str()?.to_owned())
}

/// `json.dumps(value, ensure_ascii=False, indent=…)` with Python's separators, as transformers defines it.
fn to_json(
    state: &minijinja::State<'_, '_>,
    value: Value,
    kwargs: minijinja::value::Kwargs,
) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    limits::check_nesting(&value, 0, &mut limits::Seen::default())?;
    let fail = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut out = BoundedOutput::default();
    let bytes = &mut out;
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut serializer = serde_json::Serializer::with_formatter(bytes, formatter);
            value.serialize(&mut serializer).map_err(fail)?;
        }
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(bytes, PythonFormatter);
            value.serialize(&mut serializer).map_err(fail)?;
        }
    }
    let text = String::from_utf8(out.0)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    limits::charge(state, text.len())?;
    Ok(Value::from_safe_string(text))
}

/// Python's default separators: `", "` and `": "`.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[TemplateMessage]) -> Result<String, String> {
        ChatTemplate::new(source.to_owned())?.render(messages, &Default::default(), true)
    }

    fn text(role: &'static str, text: &str) -> TemplateMessage {
        TemplateMessage { role, content: TemplateContent::Text(text.into()), extra: Default::default() }
    }

    #[test]
    fn blocks_are_trimmed_as_transformers_trims_them() {
        let source = "{% for message in messages %}\n    {% if message.role == 'user' %}\n{{ message.content }}\n    {% endif %}\n{% endfor %}\nend";
        assert_eq!(render(source, &[text("user", "hi")]).unwrap(), "hi\nend");
    }

    #[test]
    fn tojson_is_pythons_and_escapes_no_html() {
        let source = "{{ messages | tojson }}";
        let got = render(source, &[text("user", "<a> & 'ü' \"q\"")]).unwrap();
        assert_eq!(got, r#"[{"role": "user", "content": "<a> & 'ü' \"q\""}]"#);
        let got = render("{{ messages | tojson(indent=2) }}", &[text("user", "x")]).unwrap();
        assert!(got.starts_with("[\n  {\n    \"role\": \"user\""), "{got}");
    }

    #[test]
    fn parts_are_seen_by_type_and_by_key() {
        let source = "{%- for p in messages[0].content -%}{%- if p.type == 'image' or 'image' in p -%}I{%- elif p.type == 'video' -%}V{%- elif 'text' in p -%}{{ p.text }}{%- endif -%}{%- endfor -%}";
        let parts = vec![TemplatePart::Image, TemplatePart::Text { text: "<b>".into() }, TemplatePart::Video];
        let message = TemplateMessage {
            role: "user",
            content: TemplateContent::Parts(parts),
            extra: Default::default(),
        };
        assert_eq!(render(source, &[message]).unwrap(), "I<b>V");
    }

    #[test]
    fn tools_and_settings_of_the_template_are_seen() {
        let source = "{{ tools[0].function.name }} {{ enable_thinking }} {{ messages[0].tool_calls[0].id }}";
        let more =
            serde_json::json!({ "tools": [{ "function": { "name": "f" } }], "enable_thinking": false });
        let mut message = text("assistant", "");
        message.extra.insert("tool_calls".into(), serde_json::json!([{ "id": "a" }]));
        let template = ChatTemplate::new(source.to_owned()).unwrap();
        assert_eq!(template.render(&[message], more.as_object().unwrap(), true).unwrap(), "f False a");
    }

    #[test]
    fn the_templates_own_complaint_is_told() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert!(error.contains("roles must alternate"), "{error}");
    }

    #[test]
    fn strings_have_pythons_methods_and_lists_go_backwards() {
        let source = "{%- for m in messages[::-1] -%}{{ m.content.split('</think>')[-1].strip() }}{%- if m.content.startswith('<') -%}!{%- endif -%};{%- endfor -%}";
        let messages = [text("user", "<think>a</think> b "), text("assistant", "c")];
        assert_eq!(render(source, &messages).unwrap(), "c;b!;");
    }

    #[test]
    fn an_endless_template_is_stopped() {
        let source = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a + b %}{% endfor %}{% endfor %}";
        assert!(render(source, &[]).unwrap_err().contains("takes too long"));
    }

    #[test]
    fn a_template_cannot_make_endless_text() {
        let doubling = |step: &str| {
            format!(
                "{{% set ns = namespace(x='xxxxxxxx', l=[1]) %}}{{% for i in range(60) %}}{step}{{% endfor %}}"
            )
        };
        let long = "{% set x = 'x' * 9000000 %}";
        for source in [
            doubling("{% set ns.x = ns.x ~ ns.x %}"),
            doubling("{% set ns.x = ns.x + ns.x %}"),
            doubling("{% set ns.x = ns.x * 2 %}"),
            doubling("{% set ns.x = [ns.x, ns.x]|join %}"),
            doubling("{% set ns.x = ''.join([ns.x, ns.x]) %}"),
            doubling("{% set ns.x = ns.x|replace('x', 'xx') %}"),
            doubling("{% set ns.x = ns.x.replace('x', 'xx') %}"),
            doubling("{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
            doubling("{% set ns.x = '%s%s'|format(ns.x, ns.x) %}"),
            doubling("{% set ns.x = '{0}{0}'.format(ns.x) %}"),
            doubling("{% set ns.x = (ns.x ~ '\\\\')|tojson %}"),
            doubling("{% set ns.l = ns.l + ns.l %}"),
            doubling("{% set ns.l = [ns.l, ns.l] %}"),
            "{{ [[1] * 1000000] * 1000 }}".into(),
            "{{ ([[1] * 1000000] * 1000)|tojson }}".into(),
            "{{ ([[1] * 1000000] * 1000)|string }}".into(),
            "{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n - 1) }}{% endif %}{{ x }}{% endmacro %}{{ m('x' * 4000000, 4) }}".into(),
            format!("{long}{{% set l = [x, x, x, x]|join %}}"),
            format!("{long}{{% set l = x|indent(1000000000) %}}"),
            format!("{long}{{{{ x }}}}{{{{ x }}}}"),
            "{{ [1]|slice(1000000000)|length }}".into(),
            "{{ '%1000000000d'|format(1) }}".into(),
            "{{ '{:1000000000}'.format(1) }}".into(),
            "{{ '{:{}}'.format(1, 1000000000) }}".into(),
            "{{ 'a\nb'|indent(width=1000000000) }}".into(),
            format!("{{% set x %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endset %}}", "x".repeat(200_000)),
            "x".repeat(MAX_SOURCE + 1),
        ] {
            let error = render(&source, &[]).unwrap_err();
            let expected = ["would fit", "takes too long", "too large"];
            assert!(expected.iter().any(|text| error.contains(text)), "{error}: {:.200}", source);
        }
    }

    #[test]
    fn a_template_cannot_nest_values_until_the_stack_overflows() {
        let again = |step: &str| {
            format!("{{% set ns = namespace(x=[1, 2]) %}}{{% for i in range(90000) %}}{step}{{% endfor %}}")
        };
        for source in [
            again("{% set ns.x = [ns.x] %}"),
            again("{% set ns.x = (ns.x, 1) %}"),
            again("{% set ns.x = {'a': ns.x} %}"),
            again("{% set ns.x = dict(a=ns.x) %}"),
            again("{% set ns.x = namespace(x=ns.x) %}"),
            again("{% set ns.x = ns %}"),
            again("{% set ns.x = [[1, 2]] %}{% set ns.x = [ns.x[0][::-1]] %}"),
            again("{% set y = [ns.x] %}{% set ns.x = y %}"),
            "{% set x = [1] %}".to_owned() + &"{% set x = [x] %}".repeat(10_000),
            "{% macro m(x, n) %}{% if n %}{{ m([[[[[[[[[[[[x]]]]]]]]]]]], n - 1) }}{% else %}{{ x }}{% endif %}{% endmacro %}{{ m(1, 6) }}".into(),
            "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}".repeat(3000),
        ] {
            let error = render(&source, &[]).unwrap_err();
            assert!(error.contains("would fit"), "{error}: {:.200}", source);
        }
        let source = "{% set ns = namespace(x=range(9)) %}{% for i in range(9000) %}{% set ns.x = ns.x[::-1] %}{% endfor %}{{ ns.x }}";
        assert_eq!(render(source, &[]).unwrap(), "[0, 1, 2, 3, 4, 5, 6, 7, 8]");
    }

    #[test]
    fn a_long_conversation_is_rendered() {
        let source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ '<' + m.role + '>' + m.content.strip() ~ '\n' }}{% endfor %}{{ ns.n }}";
        let messages = vec![text("user", &"word ".repeat(1000)); 2000];
        let got = render(source, &messages).unwrap();
        assert!(got.len() > 9_000_000 && got.ends_with("word\n2000"), "{} bytes", got.len());
    }

    #[test]
    fn the_template_is_found_in_each_of_its_places() {
        let find = |file: &'static str, body: &'static str| {
            ChatTemplate::read(move |name| (name == file).then(|| body.as_bytes().to_vec()))
                .and_then(|template| template.render(&[], &Default::default(), true))
        };
        assert_eq!(find("chat_template.jinja", "a").unwrap(), "a");
        assert_eq!(find("chat_template.json", r#"{"chat_template": "b"}"#).unwrap(), "b");
        assert_eq!(find("tokenizer_config.json", r#"{"chat_template": "c"}"#).unwrap(), "c");
        let named =
            r#"{"chat_template": [{"name": "x", "template": "n"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(find("tokenizer_config.json", named).unwrap(), "d");
        assert!(find("other", "").unwrap_err().contains("no chat template"));
    }
}
