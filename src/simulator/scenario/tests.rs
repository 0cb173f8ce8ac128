use super::*;

#[test]
fn every_built_in_scenario_is_one_and_has_its_own_name() {
    assert_eq!(BUILT_IN.map(|(name, _)| name), NAMES);
    for name in NAMES {
        let scenario = Scenario::load(name).unwrap();
        let is_calm = scenario.rules.is_empty() && scenario.limit.is_none() && !scenario.account.is_odd();
        assert_eq!((scenario.name.as_str(), is_calm), (name, name == "calm"));
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
        ("kind='slow'\non=['all']\nevery=2", "hold is missing"),
        ("kind='throttle'\non=['all']\nevery=2", "for is missing"),
        ("kind='refuse-after-work'\non=['writes']\nevery=2", "status is missing"),
        ("kind='truncate'\non=['all']\nevery=2\nretry_after='1s'", "retry_after does not belong"),
        ("kind='refuse'\non=['all']\nevery=2\nstatus=429\nhint='date'", "hint does not belong"),
        ("kind='stall'\non=['all']\nevery=2\nhold='1s'\nallowance='1s'", "allowance does not belong"),
        ("kind='throttle'\non=['all']\nevery=2\nfor='1s'\nhint='weeks'", "unknown variant `weeks`"),
    ] {
        let error = Scenario::parse("x", &format!("name='x'\ndescription='x'\n[[fault]]\n{fault}")).unwrap_err();
        assert!(error.to_string().contains(want), "{fault}: {error}");
    }
    for (account, want) in [("deletion='soon'", "soon"), ("quota=1", "unknown field `quota`"), ("jobs=-1", "jobs")] {
        let error = Scenario::parse("x", &format!("name='x'\ndescription='x'\n[account]\n{account}")).unwrap_err();
        assert!(error.to_string().contains(want), "{account}: {error}");
    }
    for (limit, want) in [
        ("per_second=0\nburst=1", "limit: per_second is above 0"),
        ("per_second=nan\nburst=1", "limit: per_second is above 0"),
        ("per_second=1.5\nburst=0", "limit: burst begins at 1"),
        ("burst=2", "missing field `per_second`"),
        ("per_second=1\nburst=2\nfor='1s'", "unknown field `for`"),
    ] {
        let error = Scenario::parse("x", &format!("name='x'\ndescription='x'\n[limit]\n{limit}")).unwrap_err();
        assert!(error.to_string().contains(want), "{limit}: {error}");
    }
    assert!(Scenario::load("nonsense").unwrap_err().to_string().contains("brownout, calm"));
}
