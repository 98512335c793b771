use super::*;
#[test]
fn names_parse_back() {
    for method in Method::ALL {
        assert_eq!(method.name().parse::<Method>().unwrap(), method);
    }
    assert!("kaizen-swav".parse::<Method>().unwrap_err().to_string().contains("kaizen-moco"));
}
