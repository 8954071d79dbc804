//! Whisper's languages: codes and English names. Models have codes; some servers return names.

/// Codes with the names that OpenAI's package has for them.
const LANGUAGES: &str = "\
    en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese, \
    tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi, fi \
    finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish, hu \
    hungarian, ta tamil, no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin, mi \
    maori, ml malayalam, cy welsh, sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian, az \
    azerbaijani, sl slovenian, kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic, hy \
    armenian, ne nepali, mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, \
    pa punjabi, si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian, be \
    belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo faroese, ht \
    haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb luxembourgish, my myanmar, bo \
    tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir, jw \
    javanese, su sundanese, yue cantonese";

/// Returns the code of a language that is given by code or name, in any case; `None` for one that Whisper does not know.
#[must_use]
pub fn code_of(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let mut pairs = LANGUAGES.split(", ").filter_map(|pair| pair.split_once(' '));
    let found = pairs.find(|(code, name)| text.eq_ignore_ascii_case(code) || text.eq_ignore_ascii_case(name));
    found.map(|(code, _)| code)
}

/// Returns the English name of a language that is given by its code.
#[must_use]
pub fn name_of(code: &str) -> Option<&'static str> {
    let mut pairs = LANGUAGES.split(", ").filter_map(|pair| pair.split_once(' '));
    pairs.find(|(known, _)| *known == code).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_known() {
        assert_eq!(LANGUAGES.split(", ").filter(|pair| pair.contains(' ')).count(), 100);
        assert_eq!(
            (code_of("en"), code_of("English"), code_of(" HAITIAN CREOLE ")),
            (Some("en"), Some("en"), Some("ht"))
        );
        assert_eq!((name_of("ht"), name_of("xx")), (Some("haitian creole"), None));
        assert_eq!((code_of("hawaiian"), code_of("klingon"), code_of("")), (Some("haw"), None, None));
    }
}
