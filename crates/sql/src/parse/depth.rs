//! How deep the tree of a statement becomes, told from its tokens before the tree is made.
//!
//! ```text
//!   1 + 2 + 3 + 4      ((1 + 2) + 3) + 4     a level for every operator
//!   a OR b OR c OR d   (a OR b) OR (c OR d)  a level for every doubling: `balance` sees to it
//! ```
//!
//! What must hold: no tree is deeper than [`DEPTH_MAX`]. Copying, planning, running and dropping a tree
//! take a piece of a thread's stack for each level, and a stack that is used up ends the program. The
//! parser's own limit counts parentheses and subqueries only. What is told may be too much (a column
//! whose name is a word of SQL hides the end of an expression), never too little.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::balance::CHAIN_MIN;
use crate::error::{ErrorKind, SqlError};
use crate::text::Text;

/// How many levels a tree may have: at most 4 KiB of stack for each are half of what a thread has.
pub(crate) const DEPTH_MAX: usize = 250;
/// How many conditions or queries may stand in a row: each is a node of the plan.
const CHAIN_MAX: usize = 2_000;

/// How many subqueries of conditions and select lists may stand within each other. DataFusion checks each once more
/// for every one around it: their number doubles with each.
const SUBQUERIES_MAX: usize = 12;

/// Words behind which a query in parentheses is read from, and is no part of an expression.
const READS: [Keyword; 7] = [
    Keyword::FROM,
    Keyword::JOIN,
    Keyword::AS,
    Keyword::LATERAL,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
];

/// Words at which an expression ends and another may begin.
const BOUNDARIES: [Keyword; 22] = [
    Keyword::SELECT,
    Keyword::FROM,
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::ORDER,
    Keyword::BY,
    Keyword::HAVING,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::VALUES,
    Keyword::SET,
    Keyword::ON,
    Keyword::USING,
    Keyword::AS,
    Keyword::WHEN,
    Keyword::THEN,
    Keyword::ELSE,
    Keyword::FILTER,
    Keyword::OVER,
    Keyword::ASC,
    Keyword::DESC,
    Keyword::NULLS,
];

/// Words that stand between or behind operands.
const OPERATORS: [Keyword; 18] = [
    Keyword::XOR,
    Keyword::AT,
    Keyword::NOT,
    Keyword::IS,
    Keyword::IN,
    Keyword::BETWEEN,
    Keyword::OVERLAPS,
    Keyword::LIKE,
    Keyword::ILIKE,
    Keyword::RLIKE,
    Keyword::REGEXP,
    Keyword::MATCH,
    Keyword::SIMILAR,
    Keyword::MEMBER,
    Keyword::OPERATOR,
    Keyword::DIV,
    Keyword::COLLATE,
    Keyword::NOTNULL,
];

/// Refuses a statement that is nested too deeply.
pub(super) fn check(tokens: &[TokenWithSpan], text: &Text) -> Result<(), SqlError> {
    let mut reading = Reading::new();
    for token in tokens {
        reading.step(&token.token);
        let Some(why) = reading.too_much() else { continue };
        let hint = match reading.subqueries() > SUBQUERIES_MAX {
            true => "join what the inner ones read, or make views of them",
            false => "IN (…) holds any number of values; parentheses make a long sum less deep",
        };
        let error = SqlError::new(ErrorKind::TooComplex, "the statement is nested too deeply");
        return Err(error.detail(why).hint(hint).or_at(text.span(token.span)));
    }
    Ok(())
}

/// What stands between two parentheses, between `CASE` and `END`, or in the whole statement.
#[derive(Default)]
struct Level {
    is_case: bool,
    /// Whether a query here is read from.
    reads: bool,
    /// Whether it is a query that is part of an expression.
    is_subquery: bool,
    /// The depth of the operand that is being read.
    depth: usize,
    /// The greatest depth of the operands of `AND` and `OR` before it.
    operands: usize,
    /// The greatest depth of the expressions before this one.
    done: usize,
    /// How many `OR`, and how many `AND`.
    conditions: [usize; 2],
    /// How many `BETWEEN` wait for their `AND`.
    between: usize,
    /// How many `UNION`, and how many `EXCEPT` and `INTERSECT`.
    unions: usize,
    others: usize,
    /// How many tables are joined, and whether commas divide tables.
    tables: usize,
    in_from: bool,
}

impl Level {
    /// The depth of the expression that is being read.
    fn expression(&self) -> usize {
        let conditions: usize = self.conditions.map(balanced).iter().sum();
        self.operands.max(self.depth) + conditions
    }

    /// The depth of all that was read.
    fn whole(&self) -> usize {
        let unions = if self.others == 0 { balanced(self.unions) } else { self.unions };
        self.done.max(self.expression()) + unions + self.others + self.tables
    }

    /// An operand of `AND` or `OR` is read.
    fn end_operand(&mut self) {
        self.operands = self.operands.max(std::mem::take(&mut self.depth));
    }

    /// An expression is read.
    fn end(&mut self) {
        self.done = self.done.max(self.expression());
        (self.depth, self.operands, self.between) = (0, 0, 0);
        self.conditions = [0; 2];
    }

    /// Steps over a word where an expression may begin.
    fn boundary(&mut self, word: Keyword) {
        self.end();
        match word {
            Keyword::FROM => self.in_from = true,
            Keyword::ON | Keyword::USING | Keyword::AS => {}
            _ => self.in_from = false,
        }
    }
}

/// The depth of chains of so many operators together: short ones stay as they are written.
fn balanced(operators: usize) -> usize {
    let bits = (usize::BITS - operators.leading_zeros()) as usize;
    operators.min(CHAIN_MIN.max(bits))
}

/// Where reading stands.
struct Reading {
    levels: Vec<Level>,
    /// Whether the last token leaves something to come: what comes is no operator and no boundary.
    wants_operand: bool,
    last: Option<Keyword>,
    /// Whether a query that begins here is read from.
    reads: bool,
}

impl Reading {
    fn new() -> Self {
        let first = Level { reads: true, ..Level::default() };
        Self { levels: vec![first], wants_operand: true, last: None, reads: true }
    }

    /// How many subqueries of expressions this place is in.
    fn subqueries(&self) -> usize {
        self.levels.iter().filter(|level| level.is_subquery).count()
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        self.levels.last_mut().expect("there is a level: it was put there")
    }

    fn too_much(&mut self) -> Option<String> {
        if self.subqueries() > SUBQUERIES_MAX {
            let most = SUBQUERIES_MAX;
            return Some(format!(
                "at most {most} subqueries of conditions may stand in each other"
            ));
        }
        let level = self.level();
        if level.whole() > DEPTH_MAX {
            return Some(format!("at most {DEPTH_MAX} operators may stand in a row"));
        }
        let chains = [level.conditions[0], level.conditions[1], level.unions];
        let is_long = chains.iter().any(|n| *n > CHAIN_MAX);
        is_long.then(|| format!("at most {CHAIN_MAX} AND, OR or UNION may stand in a row"))
    }

    fn step(&mut self, token: &Token) {
        let wanted = self.wants_operand;
        let last = self.last.take();
        let reads = std::mem::take(&mut self.reads);
        self.wants_operand = true;
        match token {
            Token::LParen | Token::LBrace => {
                self.levels.push(Level { reads, ..Level::default() });
                self.reads = reads;
            }
            Token::LBracket => {
                self.level().depth += 1;
                self.levels.push(Level::default());
            }
            Token::RParen | Token::RBrace | Token::RBracket => {
                while self.level().is_case {
                    self.close();
                }
                self.close();
            }
            Token::Comma => {
                let level = self.level();
                level.tables += usize::from(level.in_from);
                level.end();
                self.reads = self.level().in_from;
            }
            Token::Word(word) if word.quote_style.is_none() => {
                self.last = Some(word.keyword);
                self.reads = READS.contains(&word.keyword);
                if word.keyword == Keyword::SELECT {
                    let level = self.level();
                    level.is_subquery = !level.reads;
                }
                self.word(word.keyword, wanted, last);
            }
            Token::Word(_) | Token::Number(..) | Token::Placeholder(_) => {
                self.wants_operand = false;
            }
            Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::UnicodeStringLiteral(_) => self.wants_operand = false,
            Token::Period => {}
            // `*` for all columns.
            Token::Mul if wanted => self.wants_operand = false,
            _ => self.level().depth += 1,
        }
    }

    fn word(&mut self, word: Keyword, wanted: bool, last: Option<Keyword>) {
        let after = |keyword| last == Some(keyword);
        let level = self.level();
        match word {
            Keyword::CASE => self.levels.push(Level { is_case: true, ..Level::default() }),
            Keyword::END if level.is_case => self.close(),
            Keyword::OR if !wanted => {
                level.end_operand();
                level.conditions[0] += 1;
            }
            Keyword::AND if !wanted && level.between > 0 => level.between -= 1,
            Keyword::AND if !wanted => {
                level.end_operand();
                level.conditions[1] += 1;
            }
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS if !wanted => {
                level.boundary(word);
                let union = word == Keyword::UNION;
                *(if union { &mut level.unions } else { &mut level.others }) += 1;
            }
            Keyword::JOIN => {
                level.end();
                level.tables += 1;
            }
            Keyword::FROM if after(Keyword::DISTINCT) => {}
            Keyword::TO | Keyword::ZONE | Keyword::DISTINCT | Keyword::ALL => {}
            _ if OPERATORS.contains(&word) => {
                level.depth += 1;
                level.between += usize::from(word == Keyword::BETWEEN);
                self.wants_operand = word != Keyword::NOTNULL;
            }
            _ if BOUNDARIES.contains(&word) && (!wanted || last.is_some()) => level.boundary(word),
            _ => self.wants_operand = false,
        }
    }

    /// A parenthesis or a `CASE` ends: it is an operand of what is around it.
    fn close(&mut self) {
        let inner = self.levels.pop().map_or(0, |level| level.whole());
        let level = self.level();
        level.depth = level.depth.max(inner + 1);
        self.wants_operand = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(sql: &str) -> usize {
        let text = Text::new(sql).expect("has tokens");
        let mut reading = Reading::new();
        text.tokens().iter().for_each(|token| reading.step(&token.token));
        while reading.levels.len() > 1 {
            reading.close();
        }
        reading.level().whole()
    }

    #[test]
    fn subqueries_of_conditions_are_counted_and_others_are_not() {
        let count = |sql: &str| {
            let text = Text::new(sql).expect("has tokens");
            let mut reading = Reading::new();
            let each = text.tokens().iter().map(|token| {
                reading.step(&token.token);
                reading.subqueries()
            });
            each.max()
        };
        for (sql, expected) in [
            ("SELECT a FROM (SELECT a FROM ((SELECT a FROM t)) x) y, (SELECT 1) z", 0),
            ("WITH x AS (SELECT 1), y AS (SELECT 2) (SELECT 1) UNION (SELECT 2)", 1),
            ("SELECT a FROM t JOIN (SELECT 1) x ON true, LATERAL (SELECT 1) y", 0),
            ("SELECT a, (SELECT 1) FROM t WHERE a IN (SELECT b FROM (SELECT 1) x)", 1),
            ("SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE b = (SELECT max(c) FROM v))", 2),
            ("SELECT f(a, (SELECT b FROM (SELECT 1 WHERE NOT EXISTS (SELECT 1)) x))", 2),
        ] {
            assert_eq!(count(sql), Some(expected), "{sql}");
        }
    }

    #[test]
    fn a_row_of_operators_is_deep_and_a_list_is_not() {
        let cases = [
            ("SELECT 1, 2, 3", 0),
            ("SELECT a + b + c - d, a + b FROM t", 3),
            ("SELECT *, t.*, count(*) FROM t", 1),
            ("SELECT a FROM t WHERE a = 1 OR b = 2 OR c = 3", 3),
            ("SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b IS NOT NULL", 3),
            ("SELECT (a + b) + (c + d)", 3),
            ("SELECT a + (b + (c + (d + e)))", 4),
            ("SELECT a::int::text::int", 3),
            ("SELECT a IS DISTINCT FROM b IS DISTINCT FROM c", 2),
            ("SELECT CASE WHEN a + 1 = 2 THEN 1 WHEN b + 1 = 2 THEN 2 END + 1", 4),
            ("SELECT 1 + end + 1 + then + 1", 4),
            ("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3", 2),
            ("SELECT 1 FROM a JOIN b ON a.x = b.x, c", 3),
            ("SELECT a FROM t ORDER BY a + 1 DESC NULLS LAST LIMIT -1", 1),
        ];
        for (sql, expected) in cases {
            assert_eq!(depth(sql), expected, "{sql}");
        }
        let many = |what: &str| format!("SELECT a FROM t WHERE a = 0{}", what.repeat(1_000));
        assert_eq!(depth(&many(" OR a = 1")), 17);
        assert_eq!(depth(&many(" OR a = 1 AND b = 2")), 33);
        assert_eq!(depth(&many(" + 1")), 1_001);
        assert_eq!(depth(&format!("VALUES (1){}", ", (-1)".repeat(1_000))), 2);
    }
}
