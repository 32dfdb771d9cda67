//! The schemas of requests and answers about settings, for the description of the API.

use std::marker::PhantomData;

use utoipa::{
    Number, PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, Ref, RefOr, Schema, Type,
        schema::{AllOfBuilder, OneOfBuilder, SchemaType},
    },
};

use super::{
    bounds::Bounds,
    row::{Table, bounds_of},
};

/// Schemas of types by their names.
pub type Named = Vec<(String, RefOr<Schema>)>;

/// The schema of a request or an answer about a `T`, field by field.
pub(crate) struct Fields<T>(ObjectBuilder, PhantomData<T>);

impl<T: Table> Fields<T> {
    /// An object without fields.
    pub(crate) fn new() -> Self {
        Self(ObjectBuilder::new(), PhantomData)
    }

    /// Adds a field that may be left out. A setting of `T` has its bounds.
    pub(crate) fn optional(self, key: &str, doc: &[&str], schema: RefOr<Schema>) -> Self {
        let bounds = bounds_of::<T>(key);
        let described: RefOr<Schema> = match schema {
            RefOr::T(Schema::Object(mut object)) => {
                if let Some(bounds) = bounds {
                    let within = within(bounds).build();
                    object.minimum = within.minimum;
                    object.maximum = within.maximum;
                    object.exclusive_minimum = within.exclusive_minimum;
                }
                object.description = Some(text(doc));
                object.into()
            }
            schema @ (RefOr::Ref(_) | RefOr::T(_)) => {
                let described = AllOfBuilder::new().item(schema).description(Some(text(doc)));
                let within = bounds.map(within);
                within.into_iter().fold(described, AllOfBuilder::item).into()
            }
        };
        Self(self.0.property(key, described), PhantomData)
    }

    /// Adds a field that must be there.
    pub(crate) fn required(self, key: &str, doc: &[&str], schema: RefOr<Schema>) -> Self {
        let Self(object, of) = self.optional(key, doc, schema);
        Self(object.required(key), of)
    }

    /// The whole object.
    pub(crate) fn described(self, doc: &[&str]) -> RefOr<Schema> {
        self.0.schema_type(Type::Object).description(Some(text(doc))).into()
    }
}

/// The schema of numbers within these bounds, and of all values that are not numbers.
fn within(bounds: Bounds) -> ObjectBuilder {
    let number = |end: f64| match end.fract() == 0.0 {
        true => Number::Int(end as isize),
        false => Number::Float(end),
    };
    let (least, greatest) = bounds.ends();
    let object = ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .maximum(greatest.is_finite().then(|| number(greatest)));
    match bounds.is_open() {
        true => object.exclusive_minimum(Some(number(least))),
        false => object.minimum(Some(number(least))),
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
