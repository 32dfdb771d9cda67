//! The schemas of what requests state and answers show, for the description of the API.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, Ref, RefOr, Schema, Type,
        schema::{AdditionalProperties, AllOfBuilder, OneOfBuilder},
    },
};

/// Schemas of types by their names.
pub type Named = Vec<(String, RefOr<Schema>)>;

/// The schema of an object, field by field.
#[derive(Default)]
pub(crate) struct Fields(ObjectBuilder);

impl Fields {
    /// Adds a field that may be left out.
    pub(crate) fn optional(self, key: &str, doc: &[&str], schema: RefOr<Schema>) -> Self {
        let described = AllOfBuilder::new().item(schema).description(Some(text(doc)));
        Self(self.0.property(key, described))
    }

    /// Adds a field that must be there.
    pub(crate) fn required(self, key: &str, doc: &[&str], schema: RefOr<Schema>) -> Self {
        let Self(object) = self.optional(key, doc, schema);
        Self(object.required(key))
    }

    /// The schema of an answer, which may have other fields.
    pub(crate) fn open(self, doc: &[&str]) -> RefOr<Schema> {
        self.0.schema_type(Type::Object).description(Some(text(doc))).into()
    }

    /// The schema of a request, which has no other fields.
    pub(crate) fn closed(self, doc: &[&str]) -> RefOr<Schema> {
        let none = Some(AdditionalProperties::FreeForm(false));
        Self(self.0.additional_properties(none)).open(doc)
    }
}

/// A reference to the schema of a type, which is added to the named ones.
pub(crate) fn named<T: ToSchema>(named: &mut Named) -> RefOr<Schema> {
    T::schemas(named);
    named.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

/// The schema of a type that has no name of its own, or none that matters.
pub(crate) fn plain<T: PartialSchema>(_named: &mut Named) -> RefOr<Schema> {
    T::schema()
}

/// A value, or null.
pub(crate) fn or_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(null).item(schema).into()
}

/// A doc comment as text.
fn text(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}
