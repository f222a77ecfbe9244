//! Days since 1970-01-01 and dates of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
//! algorithms"), for all years.

/// Days of 400 years.
const ERA: i64 = 146_097;
/// Days from 0000-03-01, with which an era begins, to 1970-01-01.
const BEGIN: i64 = 719_468;

/// Year, month and day of days since 1970-01-01.
#[must_use]
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + BEGIN;
    let (era, day_of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date.
#[must_use]
pub fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - BEGIN
}

/// How many days a month has.
#[must_use]
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Day by day through more than two eras, by the lengths of the months.
    #[test]
    fn days_follow_each_other() {
        assert_eq!((days_of(1970, 1, 1), date_of(0)), (0, (1970, 1, 1)));
        let (mut year, mut month, mut day) = (1599, 12, 31);
        for days in days_of(1599, 12, 31)..days_of(2404, 3, 2) {
            assert_eq!(date_of(days), (year, month, day));
            assert_eq!(days_of(year, month, day), days);
            day += 1;
            if day > days_in_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2404, 3, 2));
        assert_eq!(date_of(days_of(-4, 2, 29)), (-4, 2, 29));
    }
}
