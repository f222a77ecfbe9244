//! Which field of a record goes to which columns, and which texts are null.

use crate::column::Values;
use crate::error::FormatError;
use crate::sheet::Sheet;
use yeoul_batch::{DecodeOptions, FieldPath};

/// The columns of each field.
#[derive(Debug, Clone)]
pub(crate) struct FieldMap {
    /// For each field the columns it goes to.
    pub(crate) targets: Vec<Vec<usize>>,
    /// Whether the first record is a header that is still to come.
    pub(crate) header_pending: bool,
    /// Whether that header's names count; else they are only passed over.
    header_counts: bool,
    mapping: Vec<(String, FieldPath)>,
    /// The names of the fields; the columns until others are known.
    names: Vec<String>,
    /// Whether the fields are found by their names, not by their order.
    by_name: bool,
}

impl FieldMap {
    /// The fields as `options` say; `header_default` says whether there is a header if they do not.
    pub(crate) fn new(
        sheet: &Sheet,
        options: &DecodeOptions,
        header_default: bool,
    ) -> Result<Self, FormatError> {
        for (column, _) in &options.mapping {
            sheet.named("mapping", column)?;
        }
        let header = options.header.unwrap_or(header_default);
        let mut map = Self {
            targets: (0..sheet.columns.len()).map(|column| vec![column]).collect(),
            header_pending: header,
            header_counts: header && options.columns.is_none(),
            mapping: options.mapping.clone(),
            names: sheet.columns.iter().map(|column| column.name.clone()).collect(),
            by_name: false,
        };
        if let Some(names) = &options.columns {
            map.set_names(sheet, names, "option \"columns\"")?;
        }
        Ok(map)
    }

    /// Takes the header's names.
    pub(crate) fn set_header(
        &mut self,
        sheet: &Sheet,
        names: &[String],
    ) -> Result<(), FormatError> {
        self.header_pending = false;
        if !self.header_counts {
            return Ok(());
        }
        if names.iter().any(|name| name.contains('\r') && !name.contains('\n')) {
            return Err(FormatError::CarriageReturn);
        }
        self.set_names(sheet, names, "the header")
    }

    /// What each field is called, and where columns are found that have another name.
    pub(crate) fn names(&self) -> (&[String], &[(String, FieldPath)]) {
        (&self.names, if self.by_name { &self.mapping } else { &[] })
    }

    /// Finds the columns among the `names` of the fields, which stand in `what`.
    fn set_names(
        &mut self,
        sheet: &Sheet,
        names: &[String],
        what: &'static str,
    ) -> Result<(), FormatError> {
        (self.names, self.by_name) = (names.to_vec(), true);
        self.targets = vec![Vec::new(); names.len()];
        for (index, column) in sheet.columns.iter().enumerate() {
            let mapped = self.mapping.iter().find(|(name, _)| *name == column.name);
            let wanted = mapped.map_or(column.name.as_str(), |(_, field)| field.name());
            let named = |is: &dyn Fn(&str) -> bool| {
                let mut found = (0..names.len()).filter(|field| is(&names[*field]));
                Some((found.next()?, found.next()))
            };
            let exact = named(&|name| name == wanted);
            match exact.or_else(|| named(&|name| name.eq_ignore_ascii_case(wanted))) {
                None => {}
                Some((field, None)) => self.targets[field].push(index),
                Some((field, Some(_))) => {
                    return Err(FormatError::NamedTwice { what, field: names[field].clone() });
                }
            }
        }
        if self.targets.iter().all(Vec::is_empty) {
            let columns = sheet.column_list();
            return Err(FormatError::Header { what, columns, header: names.join(",") });
        }
        Ok(())
    }
}

/// The unquoted texts that mean null.
#[derive(Debug, Clone)]
pub(crate) struct Nulls {
    texts: Vec<String>,
    /// For each column whether the empty text is null.
    empty: Vec<bool>,
}

impl Nulls {
    /// `lenient` says that the empty text is null wherever it can be nothing else.
    pub(crate) fn new(sheet: &Sheet, texts: &[String], lenient: bool) -> Self {
        let empty = texts.iter().any(String::is_empty);
        let is_text = |values: &Values| matches!(values, Values::Text { .. });
        Self {
            texts: texts.iter().filter(|text| !text.is_empty()).cloned().collect(),
            empty: sheet
                .columns
                .iter()
                .map(|c| empty || (lenient && !is_text(&c.values)))
                .collect(),
        }
    }

    #[inline]
    pub(crate) fn contains(&self, column: usize, text: &str) -> bool {
        if text.is_empty() {
            self.empty[column]
        } else {
            self.texts.iter().any(|null| null == text)
        }
    }
}
