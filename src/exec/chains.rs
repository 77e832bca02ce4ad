//! How long chains of operators in a text may be.
//!
//! Parsers turn `a OR b OR c …` into a tree as deep as it is long, which planning and evaluation go down
//! with a stack that ends. What stands in parentheses is bounded by the parser itself
//! (`datafusion.sql_parser.recursion_limit`).

use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::error::{ErrorKind, NativeError, Result};

/// Operators one after the other, of an expression or of a query's tables.
pub const LONGEST: usize = 2000;

/// What is counted between two parentheses.
#[derive(Default)]
struct Level {
    /// Operators of the expression that is open.
    operators: usize,
    /// Joins and set operations.
    relations: usize,
}

/// # Errors
/// `sql` with line and column for a chain that is too long.
pub fn check(sql: &str, dialect: &dyn Dialect) -> Result<()> {
    // Shorter texts have no room for it.
    if sql.len() < 2 * LONGEST {
        return Ok(());
    }
    let Ok(tokens) = Tokenizer::new(dialect, sql).tokenize_with_location() else {
        // The parser says what is wrong.
        return Ok(());
    };
    let mut levels = vec![Level::default()];
    for token in &tokens {
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        match &token.token {
            Token::LParen | Token::LBrace => levels.push(Level::default()),
            Token::LBracket => {
                level.operators += 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBrace | Token::RBracket => {
                if levels.len() > 1 {
                    levels.pop();
                }
            }
            Token::Comma | Token::SemiColon => level.operators = 0,
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    level.relations += 1;
                    level.operators = 0;
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::ON
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => level.operators = 0,
                Keyword::AND | Keyword::OR | Keyword::XOR | Keyword::IS | Keyword::LIKE => {
                    level.operators += 1;
                }
                _ => {}
            },
            Token::Word(_)
            | Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::Period
            | Token::EOF => {}
            // Operators, of whatever kind; other literals are not so many.
            _ => level.operators += 1,
        }
        if let Some(level) = levels.last() {
            level.check(token.span.start)?;
        }
    }
    Ok(())
}

impl Level {
    fn check(&self, at: Location) -> Result<()> {
        let message = if self.relations > LONGEST {
            format!(
                "more than {LONGEST} joins or set operations follow each other; write the rows to a \
                 table, or give them as one source"
            )
        } else if self.operators > 2 * LONGEST {
            // `a = 1 OR a = 2` has an operator for each comparison, which makes no chain.
            format!(
                "more than {LONGEST} operators follow each other in one expression; for many values \
                 there is IN (…), or a join with a source that has them"
            )
        } else {
            return Ok(());
        };
        Err(NativeError::new(ErrorKind::Sql, message)
            .with("line", at.line.to_string())
            .with("column", at.column.to_string()))
    }
}
