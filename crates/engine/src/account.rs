//! Accounting objects (`nfnetlink_acct.c`): counters with a name, which rules of both families add to (`-m nfacct`).

use std::fmt;

/// A counter with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, 1 to 31 bytes.
    pub name: String,
    /// Packets so far.
    pub packets: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// How much may come before rules fit.
    pub quota: Option<Quota>,
    /// The quota was reached.
    pub is_over: bool,
}

/// How much may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// So many packets.
    Packets(u64),
    /// So many bytes.
    Bytes(u64),
}

/// What is done with accounting objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRequest {
    /// Makes one.
    Add(Account),
    /// Lists all, or the one of this name; and begins counting anew.
    List {
        /// Only this one.
        name: Option<String>,
        /// Counts anew from here.
        reset: bool,
    },
    /// Takes out one.
    Delete(String),
    /// Takes out all that no rule names.
    Flush,
}

/// Why that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountError {
    /// It is there already, or a rule names it.
    Busy,
    /// There is none of this name.
    Missing,
    /// The name is empty or longer than 31 bytes.
    BadName,
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AccountError::Busy => "Device or resource busy",
            AccountError::Missing => "No such file or directory",
            AccountError::BadName => "Invalid argument",
        })
    }
}

impl std::error::Error for AccountError {}

/// All of a host, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts(Vec<Account>);

impl Account {
    /// The longest name (`NFACCT_NAME_MAX` without the final zero byte).
    pub const MAX_NAME: usize = 31;

    /// One that has counted nothing.
    pub fn new(name: &str, quota: Option<Quota>) -> Account {
        Account { name: name.to_owned(), packets: 0, bytes: 0, quota, is_over: false }
    }

    fn count(&mut self, length: usize) -> bool {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(length as u64);
        let (now, quota) = match self.quota {
            None => return true,
            Some(Quota::Packets(quota)) => (self.packets, quota),
            Some(Quota::Bytes(quota)) => (self.bytes, quota),
        };
        self.is_over |= now >= quota;
        now > quota
    }
}

impl Accounts {
    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.iter()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Account> {
        self.0.iter().find(|account| account.name == name)
    }

    /// Counts a packet. The answer is the match's: whether there is no quota, or more than it has come. `place` is where the caller
    /// found it the last time.
    pub fn count(&mut self, name: &str, place: &mut usize, length: usize) -> bool {
        if self.0.get(*place).is_none_or(|account| account.name != name) {
            let Some(found) = self.0.iter().position(|account| account.name == name) else { return false };
            *place = found;
        }
        self.0.get_mut(*place).is_some_and(|account| account.count(length))
    }

    /// Makes one.
    ///
    /// # Errors
    /// The name cannot be, or is there.
    pub fn add(&mut self, new: Account) -> Result<(), AccountError> {
        match new.name.len() {
            1..=Account::MAX_NAME if self.get(&new.name).is_none() => self.0.push(new),
            1..=Account::MAX_NAME => return Err(AccountError::Busy),
            _ => return Err(AccountError::BadName),
        }
        Ok(())
    }

    /// Takes up one that counted before. One that the host has already goes on from there, if its quota is the same.
    pub fn take_up(&mut self, before: Account) {
        match self.0.iter_mut().find(|account| account.name == before.name) {
            Some(account) if account.quota == before.quota => *account = before,
            Some(_) => {}
            // A name that cannot be is none.
            None => drop(self.add(before)),
        }
    }

    /// Does what is asked; what was listed is the answer. `is_used` says whether a rule names one.
    ///
    /// # Errors
    /// Nothing was done.
    pub fn perform(
        &mut self,
        request: AccountRequest,
        is_used: impl Fn(&str) -> bool,
    ) -> Result<Vec<Account>, AccountError> {
        match request {
            AccountRequest::Add(new) => self.add(new).map(|()| Vec::new()),
            AccountRequest::List { name, reset } => {
                if name.as_ref().is_some_and(|name| self.get(name).is_none()) {
                    return Err(AccountError::Missing);
                }
                let wanted = self.0.iter_mut().filter(|a| name.as_ref().is_none_or(|name| a.name == *name));
                Ok(wanted.map(|account| listed(account, reset)).collect())
            }
            AccountRequest::Delete(name) => match self.get(&name) {
                None => Err(AccountError::Missing),
                Some(_) if is_used(&name) => Err(AccountError::Busy),
                Some(_) => {
                    self.0.retain(|account| account.name != name);
                    Ok(Vec::new())
                }
            },
            AccountRequest::Flush => {
                self.0.retain(|account| is_used(&account.name));
                Ok(Vec::new())
            }
        }
    }
}

fn listed(account: &mut Account, reset: bool) -> Account {
    let then = account.clone();
    if reset {
        *account = Account::new(&then.name, then.quota);
    }
    then
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_holds_until_more_has_come() {
        let mut accounts = Accounts::default();
        accounts.add(Account::new("free", None)).unwrap();
        accounts.add(Account::new("p", Some(Quota::Packets(3)))).unwrap();
        accounts.add(Account::new("b", Some(Quota::Bytes(100)))).unwrap();
        // As `nfacct` and `iptables -m nfacct` of Linux 6.18 say it of six packets of 48 bytes.
        let mut fits = |name: &str| (0..6).filter(|_| accounts.count(name, &mut 0, 48)).count();
        assert_eq!((fits("free"), fits("p"), fits("b"), fits("none")), (6, 3, 4, 0));
        let all: Vec<(u64, u64, bool)> = accounts.iter().map(|a| (a.packets, a.bytes, a.is_over)).collect();
        assert_eq!(all, [(6, 288, false), (6, 288, true), (6, 288, true)]);
    }

    #[test]
    fn counting_goes_on_after_a_restart() {
        let mut accounts = Accounts::default();
        accounts.add(Account::new("same", None)).unwrap();
        accounts.add(Account::new("other", Some(Quota::Packets(3)))).unwrap();
        let before = |name: &str| Account { packets: 5, bytes: 50, ..Account::new(name, None) };
        ["same", "other", "more", ""].into_iter().for_each(|name| accounts.take_up(before(name)));
        let counted: Vec<(&str, u64)> = accounts.iter().map(|a| (a.name.as_str(), a.packets)).collect();
        assert_eq!(counted, [("same", 5), ("other", 0), ("more", 5)]);
    }

    #[test]
    fn what_a_rule_names_stays() {
        let mut accounts = Accounts::default();
        let used = |name: &str| name == "used";
        let mut ask = |request| accounts.perform(request, used);
        let add = |name: &str| AccountRequest::Add(Account::new(name, None));
        assert_eq!(ask(add("used")), Ok(Vec::new()));
        assert_eq!(ask(add("used")), Err(AccountError::Busy));
        assert_eq!(ask(add("")), Err(AccountError::BadName));
        assert_eq!(ask(add("other")), Ok(Vec::new()));
        assert_eq!(ask(AccountRequest::Delete("used".into())), Err(AccountError::Busy));
        assert_eq!(ask(AccountRequest::Delete("none".into())), Err(AccountError::Missing));
        assert_eq!(ask(AccountRequest::Flush), Ok(Vec::new()));
        let left = ask(AccountRequest::List { name: None, reset: true }).unwrap();
        assert_eq!(left, [Account::new("used", None)]);
    }
}
