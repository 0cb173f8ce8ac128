use super::*;

#[test]
fn every_built_in_scenario_is_one_and_has_its_own_name() {
    assert_eq!(BUILT_IN.map(|(name, _)| name), NAMES);
    for name in NAMES {
        let scenario = Scenario::load(name).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.rules.is_empty()), (name, name == "calm"));
        assert!(!scenario.description.is_empty());
    }
}

#[test]
fn what_is_wrong_with_a_scenario_is_named() {
    for (fault, want) in [
        ("kind='refuse'\non=['all']\nevery=2\nstatus=503\ncolour=1", "unknown field `colour`"),
        ("kind='explode'\non=['all']\nevery=2", "unknown variant `explode`"),
        ("kind='refuse'\non=['all']\nstatus=503", "say either every"),
        ("kind='refuse'\non=['all']\nstatus=503\nevery=0", "say either every"),
        ("kind='refuse'\non=['all']\nstatus=503\nprobability=1.5", "say either every"),
        ("kind='refuse'\non=['all']\nevery=2", "status is missing"),
        ("kind='refuse'\non=['all']\nevery=2\nstatus=418", "status is one of"),
        ("kind='refuse'\non=['Jobs_Dance']\nevery=2\nstatus=503", "Jobs_Dance is neither"),
        ("kind='stall'\non=['all']\nevery=2\nhold='soon'", "soon"),
        ("kind='throttle'\non=['all']\nevery=2", "for is missing"),
        ("kind='refuse-after-work'\non=['writes']\nevery=2", "status is missing"),
        ("kind='truncate'\non=['all']\nevery=2\nretry_after='1s'", "retry_after does not belong"),
    ] {
        let error = Scenario::parse("x", &format!("name='x'\ndescription='x'\n[[fault]]\n{fault}")).unwrap_err();
        assert!(error.to_string().contains(want), "{fault}: {error}");
    }
    assert!(Scenario::load("nonsense").unwrap_err().to_string().contains("calm, errors"));
}
