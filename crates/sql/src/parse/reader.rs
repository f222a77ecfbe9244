//! The tokens of one statement, read from left to right.

use std::sync::Arc;

use crate::dialect::OurDialect;
use datafusion::sql::sqlparser::ast as sql;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::balance::balance;
use super::{Surroundings, asof, lookup, session};
use crate::ast::{Name, Query, Spanned, Statement, WrittenOption};
use crate::error::{ErrorKind, Span, SqlError};
use crate::options::{Connectors, Given};
use crate::text::{Text, fold};

static DIALECT: OurDialect = OurDialect;

/// How deep expressions and subqueries may be nested.
const NESTING_MAX: usize = 100;

pub(super) struct Reader<'a> {
    parser: Parser<'static>,
    text: &'a Arc<Text>,
    span: Span,
    surroundings: Surroundings<'a>,
    /// The statement stands inside of another one.
    pub(super) inner: bool,
    /// The text was accepted before.
    pub(super) stored: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a Arc<Text>,
        tokens: &[TokenWithSpan],
        span: Span,
        surroundings: Surroundings<'a>,
    ) -> Self {
        let marked = asof::marked(lookup::marked(session::with_keys(without_table_word(tokens))));
        let parser = Parser::new(&DIALECT)
            .with_recursion_limit(NESTING_MAX)
            .with_tokens_with_locations(marked);
        Self { parser, text, span, surroundings, inner: false, stored: false }
    }

    pub(super) fn text(&self) -> Arc<Text> {
        Arc::clone(self.text)
    }

    /// The parser, for what it does itself; see [`Reader::run`].
    pub(super) fn parser(&mut self) -> &mut Parser<'static> {
        &mut self.parser
    }

    /// The connectors there are.
    pub(super) fn connectors(&self) -> Connectors {
        self.surroundings.connectors
    }

    /// The whole statement.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// The next token in upper case; empty at the end. A quoted word keeps its quotes, so that
    /// it is never taken for a keyword.
    pub(super) fn peek_word(&self) -> String {
        word_of(&self.parser.peek_token_ref().token)
    }

    /// The token after the next.
    pub(super) fn peek_second(&self) -> String {
        word_of(&self.parser.peek_nth_token_ref(1).token)
    }

    pub(super) fn advance(&mut self) {
        self.parser.advance_token();
    }

    /// Steps over the next token and gives `value`.
    pub(super) fn then<T>(&mut self, value: T) -> T {
        self.advance();
        value
    }

    /// Steps over the next token if it is `word`.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let is = self.peek_word() == word;
        if is {
            self.advance();
        }
        is
    }

    /// Steps over `words` if all of them come next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let is = words
            .iter()
            .enumerate()
            .all(|(i, w)| word_of(&self.parser.peek_nth_token_ref(i).token) == *w);
        if is {
            words.iter().for_each(|_| self.advance());
        }
        is
    }

    /// Takes `words` out of the end of the statement; where they stood.
    pub(super) fn cut(&mut self, words: &[&str]) -> Option<Span> {
        let found = self.find(words)?;
        let read = self.parser.index();
        let empty = Parser::new(&DIALECT).with_recursion_limit(NESTING_MAX);
        let mut tokens = std::mem::replace(&mut self.parser, empty).into_tokens();
        let start = |t: &TokenWithSpan| self.text.span(t.span).map(|span| span.start);
        let at = tokens.iter().position(|t| start(t) == Some(found.start));
        let is_last = at.is_some_and(|at| {
            let behind = tokens.get(at + words.len()).map(|t| word_of(&t.token));
            behind.is_none_or(|word| word.is_empty() || word == "WITH")
        });
        if let (Some(at), true) = (at, is_last) {
            tokens.drain(at..at + words.len());
        }
        self.parser = Parser::new(&DIALECT)
            .with_recursion_limit(NESTING_MAX)
            .with_tokens_with_locations(tokens);
        while self.parser.index() < read {
            self.parser.advance_token();
        }
        is_last.then_some(found)
    }

    /// Where `words` stand among the tokens that are left.
    pub(super) fn find(&self, words: &[&str]) -> Option<Span> {
        // By index: the parser finds its n-th token by stepping over those before it.
        let token = |at| self.parser.token_at(at);
        let mut at = self.parser.get_current_index();
        while token(at).token != Token::EOF {
            if (at..).zip(words).all(|(at, word)| word_of(&token(at).token) == *word) {
                let span = |at: usize| self.text.span(token(at).span);
                return Some(span(at)?.to(span(at + words.len() - 1)?));
            }
            at += 1;
        }
        None
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), SqlError> {
        if self.word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    /// Where the next token stands; the end of the statement when there is none.
    pub(super) fn here(&self) -> Span {
        let token = self.parser.peek_token_ref();
        match self.text.span(token.span) {
            Some(span) if token.token != Token::EOF => span,
            _ => Span::new(self.span.end, self.span.end),
        }
    }

    /// Where the last token that was read stands.
    pub(super) fn last(&self) -> Span {
        let index = self.parser.get_current_index();
        self.text.span(self.parser.token_at(index).span).unwrap_or(self.span)
    }

    pub(super) fn expected(&self, what: &str) -> SqlError {
        let found = match &self.parser.peek_token_ref().token {
            Token::EOF => "the end of the statement".to_owned(),
            token => format!("\"{token}\""),
        };
        SqlError::new(ErrorKind::Syntax, format!("expected {what}, found {found}")).at(self.here())
    }

    /// Nothing may be left.
    pub(super) fn end(&mut self) -> Result<(), SqlError> {
        match self.parser.peek_token_ref().token {
            Token::EOF => Ok(()),
            _ => Err(self.expected("the end of the statement")),
        }
    }

    /// Lets the parser read something and translates its error.
    pub(super) fn run<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Result<T, SqlError> {
        read(&mut self.parser).map_err(|e| crate::translate::parser(&e, self.text, self.span))
    }

    /// A name of ours.
    pub(super) fn name(&mut self) -> Result<Name, SqlError> {
        let start = self.here();
        if self.peek_word().is_empty() {
            return Err(self.expected("a name"));
        }
        let object = self.run(|p| p.parse_object_name(false))?;
        self.name_of(&object, start.to(self.last()))
    }

    /// The name an object name of the parser is.
    pub(super) fn name_of(&self, object: &sql::ObjectName, span: Span) -> Result<Name, SqlError> {
        let parts: Vec<String> = object.0.iter().filter_map(|p| p.as_ident()).map(fold).collect();
        super::plain_name(&parts, span)
    }

    /// A single identifier.
    pub(super) fn ident(&mut self) -> Result<Name, SqlError> {
        if self.peek_word().is_empty() {
            return Err(self.expected("a name"));
        }
        let ident = self.run(Parser::parse_identifier)?;
        Ok(self.name_of_ident(&ident))
    }

    pub(super) fn name_of_ident(&self, ident: &sql::Ident) -> Name {
        Name { value: fold(ident), span: self.text.span(ident.span).unwrap_or(self.span) }
    }

    /// `(a, b, …)`
    pub(super) fn names(&mut self) -> Result<Vec<Name>, SqlError> {
        self.expect("(")?;
        let mut names = vec![self.ident()?];
        while self.word(",") {
            names.push(self.ident()?);
        }
        self.expect(")")?;
        Ok(names)
    }

    /// An expression, up to where the parser stops.
    pub(super) fn expr(&mut self) -> Result<sql::Expr, SqlError> {
        let mut expr = self.run(Parser::parse_expr)?;
        balance(&mut expr);
        Ok(expr)
    }

    /// A query, up to where the parser stops.
    pub(super) fn query(&mut self) -> Result<Query, SqlError> {
        let start = self.here();
        if let Some(at) = self.find(&["FOR", "SYSTEM_TIME"]) {
            return Err(SqlError::unsupported(
                "FOR SYSTEM_TIME is AS OF PROCTIME(), or AS OF a column of the rows on the left",
            )
            .detail("a row meets the table as it is when the row comes, or the version of the row's time")
            .at(at));
        }
        let mut ast = self.run(Parser::parse_query)?;
        balance(&mut ast);
        Ok(Query { ast, span: start.to(self.last()), text: self.text() })
    }

    /// `WITH (name = 'value', …)`, where there is one.
    pub(super) fn options(&mut self) -> Result<Vec<Given>, SqlError> {
        if !self.word("WITH") {
            return Ok(Vec::new());
        }
        self.option_list()
    }

    /// `(name = 'value', …)`.
    pub(super) fn option_list(&mut self) -> Result<Vec<Given>, SqlError> {
        let mut given = Vec::new();
        self.expect("(")?;
        loop {
            given.push(self.option()?);
            if !self.word(",") {
                break;
            }
            if self.peek_word() == ")" {
                break;
            }
        }
        self.expect(")")?;
        Ok(given)
    }

    /// `$$ CREATE OR REPLACE MATERIALIZED VIEW …; … $$`
    pub(super) fn replaced_views(&mut self) -> Result<Vec<Spanned<Statement>>, SqlError> {
        let at = self.here();
        let Token::DollarQuotedString(inner) = self.parser.peek_token_ref().token.clone() else {
            return Err(self.expected("the statements between $$ and $$"));
        };
        self.advance();
        if self.inner {
            return Err(
                SqlError::unsupported("statements inside of statements inside of one").at(at)
            );
        }
        let views = super::parse_in(&inner.value, self.surroundings, true)
            .map_err(|error| SqlError { span: Some(at), ..error })?;
        let replaces = |statement: &Spanned<Statement>| match &statement.node {
            Statement::CreateView(create) => create.or_replace,
            Statement::CreateFunction(create) => create.or_replace,
            _ => false,
        };
        if views.is_empty() || !views.iter().all(replaces) {
            return Err(SqlError::new(
                ErrorKind::Syntax,
                "between $$ and $$ stand CREATE OR REPLACE MATERIALIZED VIEW and FUNCTION statements",
            )
            .at(at));
        }
        Ok(views)
    }

    /// An option as it stands in the text.
    pub(super) fn written(&self, given: &Given) -> WrittenOption {
        let value = given.value_span.of(self.text.as_str()).to_owned();
        WrittenOption { name: given.name.clone(), value }
    }

    fn option(&mut self) -> Result<Given, SqlError> {
        let start = self.here();
        let mut name = self.ident()?.value;
        while self.word(".") {
            name = format!("{name}.{}", self.ident()?.value);
        }
        let name_span = start.to(self.last());
        self.expect("=")?;
        let value_span = self.here();
        let token = self.parser.peek_token_ref().token.clone();
        let value = match token {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => s,
            Token::DollarQuotedString(s) => s.value,
            Token::Number(n, _) => n,
            Token::Word(w) if w.quote_style.is_none() => w.value,
            _ => return Err(self.expected("a value in quotes")),
        };
        self.advance();
        let value = self.resolve(value, value_span)?;
        Ok(Given { name, name_span, value, value_span })
    }

    /// Replaces every `${NAME}`.
    fn resolve(&self, value: String, span: Span) -> Result<String, SqlError> {
        let mut out = String::new();
        let mut rest = value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            let Some(secret) = (self.surroundings.secrets)(name) else {
                return Err(SqlError::new(
                    ErrorKind::InvalidOption,
                    format!("\"${{{name}}}\" has no value"),
                )
                .hint(format!("set {name} in the environment or in the secrets file"))
                .at(span));
            };
            out.push_str(before);
            out.push_str(&secret);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }
}

pub(super) fn word_of(token: &Token) -> String {
    match token {
        Token::Word(w) if w.quote_style.is_none() => w.value.to_uppercase(),
        Token::EOF => String::new(),
        other => other.to_string(),
    }
}

/// Flink writes `TUMBLE(TABLE t, …)`; the word TABLE says nothing there and the parser does not
/// know it, so it is left out.
fn without_table_word(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let windows = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for (i, token) in tokens.iter().enumerate() {
        let opens = match out.last().map(|t| &t.token) {
            Some(Token::LParen) => out.len().checked_sub(2).map(|j| word_of(&out[j].token)),
            // TUMBLE(DATA => TABLE t, …)
            Some(Token::RArrow) => out.len().checked_sub(4).map(|j| word_of(&out[j].token)),
            _ => None,
        };
        let inside = opens.is_some_and(|w| windows.contains(&w.as_str()));
        let is_word = word_of(&token.token) == "TABLE";
        let names = tokens
            .get(i + 1)
            .is_some_and(|next| matches!(next.token, Token::Word(_) | Token::LParen));
        if !(inside && is_word && names) {
            out.push(token.clone());
        }
    }
    out
}
