//! Statements that the parser has no form for, word by word.

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};

use super::statements::refused;
use crate::error::{NativeError, Result};

/// Tokens of a statement that the parser has no form for.
pub struct Words {
    pub tokens: Vec<TokenWithSpan>,
    pub at: usize,
}

impl Words {
    pub fn peek(&self) -> Option<&TokenWithSpan> {
        self.tokens
            .get(self.at)
            .filter(|token| token.token != Token::EOF)
    }

    pub fn peek_word(&self) -> Option<String> {
        match &self.peek()?.token {
            Token::Word(Word {
                value,
                quote_style: None,
                ..
            }) => Some(value.to_uppercase()),
            _ => None,
        }
    }

    pub fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek_word().as_deref() == Some(word);
        self.at += usize::from(is_it);
        is_it
    }

    pub fn name(&mut self) -> Result<String> {
        match self.peek().map(|token| token.token.clone()) {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(match word.quote_style {
                    Some(_) => word.value,
                    None => word.value.to_lowercase(),
                })
            }
            _ => Err(self.unexpected("the name of a table or column")),
        }
    }

    pub fn unexpected(&self, wanted: &str) -> NativeError {
        match self.peek() {
            Some(found) => refused(
                &format!("{:?} where {wanted} is expected", found.token.to_string()),
                found.span.start,
            ),
            None => refused(
                &format!("it ends where {wanted} is expected"),
                Location::empty(),
            ),
        }
    }

    pub fn end(&mut self) -> Result<()> {
        while self
            .peek()
            .is_some_and(|token| token.token == Token::SemiColon)
        {
            self.at += 1;
        }
        match self.peek() {
            Some(_) => Err(self.unexpected("the end of the statement")),
            None => Ok(()),
        }
    }

    /// Writes `UPDATE SET *` as setting `all`, and `INSERT *` as `INSERT ROW`.
    pub fn spell_out_all(&mut self, all: &str) {
        let is_word = |token: Option<&TokenWithSpan>, wanted: &str| {
            token.is_some_and(|token| match &token.token {
                Token::Word(word) => {
                    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted)
                }
                _ => false,
            })
        };
        let mut at = 1;
        while at < self.tokens.len() {
            if self.tokens[at].token == Token::Mul {
                let before = |n: usize| at.checked_sub(n).and_then(|i| self.tokens.get(i));
                let span = self.tokens[at].span;
                let tokens = if is_word(before(1), "INSERT") {
                    vec![Token::make_keyword("ROW")]
                } else if is_word(before(1), "SET") && is_word(before(2), "UPDATE") {
                    vec![
                        Token::make_word(all, Some('"')),
                        Token::Eq,
                        Token::make_keyword("NULL"),
                    ]
                } else {
                    at += 1;
                    continue;
                };
                let spelled = tokens
                    .into_iter()
                    .map(|token| TokenWithSpan { token, span });
                self.tokens.splice(at..=at, spelled);
            }
            at += 1;
        }
    }

    /// Removes the first place where these words stand together.
    pub fn remove(&mut self, words: &[&str]) {
        let is_word = |token: &TokenWithSpan, wanted: &str| {
            matches!(&token.token, Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
        };
        let found = self.tokens.windows(words.len()).position(|window| {
            window
                .iter()
                .zip(words)
                .all(|(token, wanted)| is_word(token, wanted))
        });
        if let Some(at) = found {
            self.tokens.drain(at..at + words.len());
        }
    }
}
