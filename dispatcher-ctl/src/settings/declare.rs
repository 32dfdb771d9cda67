//! The macro [`settings!`], by which an object's settings are declared.

/// Declares an object: its struct, its table, and how requests and answers have it.
///
/// ```text
/// settings! {
///     /// What the object is.
///     Name (parameter: Type) at "where its keys stand", also ["table"], later ["key of a later version"];
///     put {Put} patch {Patch} view {View}
///     given    { fields that come from elsewhere: a name, or what decides about defaults }
///     fixed    { fields that must be there, in the file and at creation, and cannot be changed }
///     required { fields that must be there, in the file and at creation }
///     optional { fields that have a default }
///     tables   { the same for tables of settings }
///     runtime  { fields of `Patch` that are no settings }
///     file     { fields that only the file has }
/// }
/// ```
///
/// A field is a description, serde's attribute for the saved state if it needs one, and
/// `key as "option" alone "value": Type = default => Spec;`: the name of its option, where that is not its key; what the
/// option means that stands without a value at creation; its default, which may depend on fields before it and on the
/// parameter; and its other properties ([`Spec`](super::spec::Spec)). An object without `put`, `patch` and `view` has only `given`, `required` and `file`.
macro_rules! settings {
    // An object that only the file has.
    (
        $(#[$meta:meta])*
        $name:ident at $at:literal, also $also:tt, later $later:tt;
        given $given:tt required $required:tt file $file:tt
    ) => {
        $crate::settings::settings! { @struct [$(#[$meta])*] $name $given $required $file }
        $crate::settings::settings! { @table $name $at $also $later [] $given [$required] [$file] }
    };
    // An object that has an API.
    (
        $(#[$meta:meta])*
        $name:ident $(($from:ident: $from_ty:ty))? at $at:literal, also $also:tt, later $later:tt;
        put $put:tt patch $patch:tt view $view:tt
        given $given:tt fixed $fixed:tt required $required:tt optional $optional:tt tables $tables:tt
        runtime $runtime:tt file $file:tt
    ) => {
        $crate::settings::settings! {
            @struct [$(#[$meta])*] $name $given $fixed $required $optional $tables $file
        }
        $crate::settings::settings! {
            @table $name $at $also $later [$($from: $from_ty)?] $given [$fixed $required]
            [$optional $tables $file]
        }
        $crate::settings::settings! {
            @request $put [] true $name [$fixed $required] [$optional] $tables {}
        }
        $crate::settings::settings! {
            @request $patch [Default] false $name [] [$required $optional] $tables $runtime
        }
        $crate::settings::settings! { @view $view $name $given $fixed $required $optional $tables }
    };

    // The object itself, as it is in memory and in the saved state.
    (@struct [$($meta:tt)*] $name:ident $({$(
        $(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])?
        $key:ident $(as $option:literal)? $(alone $alone:literal)?: $ty:ty $(= $default:expr)? $(=> $spec:expr)?;
    )*})*) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        $($meta)*
        pub struct $name {$($(
            $(#[doc = $doc])+
            $(#[serde($($serde)+)])?
            pub $key: $ty,
        )*)*}
    };

    // How it is made of what has no default, how it is read, and its table.
    (@table $name:ident $at:literal [$($also:literal),*] [$($later:literal),*]
        [$($from:ident: $from_ty:ty)?]
        {$(
            $(#[doc = $given_doc:literal])+ $(#[serde($($given_serde:tt)+)])?
            $given:ident: $given_ty:ty $(=> $given_spec:expr)?;
        )*}
        [$({$(
            $(#[doc = $must_doc:literal])+ $(#[serde($($must_serde:tt)+)])?
            $must:ident: $must_ty:ty => $must_spec:expr;
        )*})*]
        [$({$(
            $(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])?
            $key:ident $(as $option:literal)? $(alone $alone:literal)?: $ty:ty = $default:expr $(=> $spec:expr)?;
        )*})*]
    ) => {
        impl $name {
            /// The object with these settings, and every other at its default.
            #[must_use]
            pub fn new(
                $($given: $given_ty,)* $($($must: $must_ty,)*)* $($from: $from_ty)?
            ) -> Self {
                $($(let $key: $ty = $default;)*)*
                Self { $($given,)* $($($must,)*)* $($($key,)*)* }
            }
        }

        impl $crate::settings::row::Table for $name {
            const ROWS: &'static [$crate::settings::row::Row<Self>] = &[
                $($crate::settings::settings! { @row [$($given_doc)+] $given [$given_ty] $($given_spec)? },)*
                $($($crate::settings::settings! { @row [$($must_doc)+] $must [$must_ty] $must_spec },)*)*
                $($($crate::settings::settings! { @row [$($doc)+] $key [$ty] $($spec)? },)*)*
            ];
            const PRESET: usize = [$(stringify!($given),)* $($(stringify!($must),)*)* ""].len() - 1;
            const KEYS: &'static $crate::settings::keys::Keys = &$crate::settings::keys::Keys {
                at: $at,
                known: &[
                    $(stringify!($given),)* $($(stringify!($must),)*)* $($(stringify!($key),)*)* $($also),*
                ],
                later: &[$($later),*],
            };
        }
    };
    (@row [$($doc:literal)+] $key:ident [$ty:ty]) => {
        $crate::settings::settings! { @row [$($doc)+] $key [$ty] $crate::settings::spec::Spec::NEW }
    };
    (@row [$($doc:literal)+] $key:ident [$ty:ty] $spec:expr) => {{
        use $crate::settings::value::Value;
        $crate::settings::row::Row {
            key: stringify!($key),
            doc: &[$($doc),+],
            kind: <$ty as Value>::kind,
            spec: $spec,
            read: |s, spec, to| {
                if let Some(value) = <$ty as Value>::read(s, stringify!($key), spec) {
                    to.$key = value;
                }
            },
            written: |of, spec| Value::written(&of.$key, spec),
            text: |of| Value::text(&of.$key),
            number: |of| Value::number(&of.$key),
            is_same: |a, b| a.$key == b.$key,
            copy: |from, to| to.$key.clone_from(&from.$key),
        }
    }};

    // The request that creates or changes it: what it must have, and what it may have. `$is_alone`: whether options may stand
    // without a value.
    (@request {} $($rest:tt)*) => {};
    (@request {$(#[doc = $about:literal])+ $request:ident} [$($derive:ident)?] $is_alone:tt $name:ident
        [$({$(
            $(#[doc = $must_doc:literal])+ $(#[serde($($must_serde:tt)+)])?
            $must:ident: $must_ty:ty => $must_spec:expr;
        )*})*]
        [$({$(
            $(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])?
            $key:ident $(as $option:literal)? $(alone $alone:literal)?: $ty:ty $(= $default:expr)? $(=> $spec:expr)?;
        )*})*]
        {$(
            $(#[doc = $table_doc:literal])+ $(#[serde($($table_serde:tt)+)])?
            $table:ident: $table_ty:ty = $table_default:expr $(=> $table_spec:expr)?;
        )*}
        {$( $(#[doc = $runtime_doc:literal])+ $runtime:ident: $runtime_ty:ty; )*}
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, $($derive,)? PartialEq, serde::Serialize, serde::Deserialize, clap::Args)]
        #[serde(deny_unknown_fields)]
        pub struct $request {
            $($(
                $(#[doc = $must_doc])+
                #[arg(long, allow_negative_numbers = true)]
                #[arg(help = $crate::settings::help::help::<$name>(stringify!($must), $is_alone, false))]
                #[arg(long_help = $crate::settings::help::help::<$name>(stringify!($must), $is_alone, true))]
                #[arg(value_names = $crate::settings::names::<$must_ty>())]
                #[arg(value_parser = $crate::settings::parser::<$must_ty>())]
                pub $must: $crate::settings::SaidOf<$must_ty>,
            )*)*
            $($(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[serde(deserialize_with = "crate::settings::from_json")]
                #[arg(long $(= $option)?, allow_negative_numbers = true)]
                #[arg(help = $crate::settings::help::help::<$name>(stringify!($key), $is_alone, false))]
                #[arg(long_help = $crate::settings::help::help::<$name>(stringify!($key), $is_alone, true))]
                #[arg(value_names = $crate::settings::names::<$ty>())]
                #[arg(value_parser = $crate::settings::parser::<$ty>())]
                $(#[cfg_attr($is_alone, arg(num_args = 0..=1, require_equals = true, default_missing_value = $alone))])?
                pub $key: Option<$crate::settings::SaidOf<$ty>>,
            )*)*
            $(
                $(#[doc = $table_doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[serde(deserialize_with = "crate::values::Object::or_null")]
                #[command(flatten)]
                pub $table: Option<$crate::settings::SaidOf<$table_ty>>,
            )*
            $(
                $(#[doc = $runtime_doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[arg(skip)]
                pub $runtime: Option<$runtime_ty>,
            )*
        }

        $crate::settings::settings! { @schema $request of $name [$($about),+]
            $($(required $must [$($must_doc),+] <$must_ty as $crate::settings::Stated>::schema;)*)*
            $($(optional $key [$($doc),+] <$ty as $crate::settings::Stated>::schema;)*)*
            $(optional $table [$($table_doc),+] $crate::settings::schema::named::<$crate::settings::SaidOf<$table_ty>>;)*
            $(optional $runtime [$($runtime_doc),+] $crate::settings::schema::plain::<$runtime_ty>;)*
        }

        impl $request {
            /// Changes the settings that the request may have, as far as it has them.
            pub fn apply(&self, to: &mut $name) {
                use $crate::settings::Stated;
                $($(if let Some(said) = &self.$key { Stated::set(&mut to.$key, said) })*)*
                $(if let Some(said) = &self.$table { Stated::set(&mut to.$table, said) })*
            }
        }
    };

    // The answer that shows it.
    (@view {} $($rest:tt)*) => {};
    (@view {$(#[doc = $about:literal])+ $view:ident} $name:ident $({$(
        $(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])?
        $key:ident $(as $option:literal)? $(alone $alone:literal)?: $ty:ty $(= $default:expr)? $(=> $spec:expr)?;
    )*})*) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $view {$($(
            $(#[doc = $doc])+
            pub $key: $crate::settings::ShownOf<$ty>,
        )*)*}

        $crate::settings::settings! { @schema $view of $name [$($about),+]
            $($(required $key [$($doc),+] <$ty as $crate::settings::Stated>::schema;)*)*
        }

        impl $view {
            /// Its fields as text, with their keys, in their order.
            #[must_use]
            pub fn texts(&self) -> Vec<(&'static str, String)> {
                use $crate::settings::Stated;
                vec![$($((stringify!($key), <$ty as Stated>::shown_text(&self.$key)),)*)*]
            }
        }

        impl From<&$name> for $view {
            fn from(of: &$name) -> Self {
                use $crate::settings::Stated;
                Self { $($($key: Stated::shown(&of.$key),)*)* }
            }
        }
    };

    // The schema of one of these.
    (@schema $name:ident of $object:ident [$($about:literal),+]
        $($presence:ident $key:ident [$($doc:literal),+] $schema:expr;)*
    ) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let mut named = Vec::new();
                $crate::settings::schema::Fields::<$object>::new()
                    $(.$presence(stringify!($key), &[$($doc),+], ($schema)(&mut named)))*
                    .described(&[$($about),+])
            }
        }

        impl utoipa::ToSchema for $name {
            fn schemas(named: &mut $crate::settings::schema::Named) {
                $(drop(($schema)(named));)*
            }
        }
    };
}

pub(crate) use settings;
