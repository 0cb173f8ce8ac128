use http::Method;

use super::*;
use std::time::Duration;

fn statuses() -> Vec<StatusCode> {
    [408, 429, 500, 502, 503, 504].map(|code| StatusCode::from_u16(code).unwrap()).to_vec()
}

fn get() -> Subject {
    Subject::of(&Method::GET, "/jobs")
}

fn put() -> Subject {
    Subject::of(&Method::PUT, "/jobs/j")
}

fn create() -> Subject {
    Subject::of(&Method::POST, "/jobs")
}

fn reboot() -> Subject {
    Subject::of(&Method::POST, "/pools/p/nodes/n/reboot")
}

fn responded<'a>(status: u16, hint: Option<u64>, fault: Option<&'a str>) -> Outcome<'a> {
    Outcome::Responded { status: StatusCode::from_u16(status).unwrap(), hint: hint.map(Duration::from_secs), fault }
}

/// Every rule of the table, with the cases at its edges.
#[test]
fn an_answer_has_the_class_of_its_status_hint_and_code() {
    for (subject, status, hint, fault, want) in [
        (get(), 200, None, None, Class::Success),
        (create(), 201, None, None, Class::Success),
        (get(), 304, None, Some("ConditionNotMet"), Class::Success),
        (get(), 307, None, None, Class::Success),
        (get(), 429, None, None, Class::Throttled),
        (create(), 429, Some(5), Some("TooManyRequests"), Class::Throttled),
        (get(), 503, Some(5), None, Class::Throttled),
        (get(), 503, None, Some("ServerBusy"), Class::Throttled),
        (put(), 503, None, Some("TooManyEnableAutoScaleRequests"), Class::Throttled),
        (get(), 503, None, None, Class::Transient),
        (get(), 503, None, Some("InternalError"), Class::Transient),
        (get(), 500, Some(5), Some("InternalError"), Class::Transient),
        (create(), 500, None, Some("OperationTimedOut"), Class::Transient),
        (reboot(), 500, None, None, Class::Transient),
        (put(), 408, None, None, Class::Transient),
        (put(), 502, None, None, Class::Transient),
        (put(), 504, None, None, Class::Transient),
        (get(), 507, None, None, Class::Transient),
        (get(), 599, None, None, Class::Transient),
        (put(), 507, None, None, Class::Permanent),
        (get(), 501, None, None, Class::Permanent),
        (get(), 505, None, None, Class::Permanent),
        (put(), 409, None, Some("PoolBeingResized"), Class::State),
        (put(), 409, None, Some("PoolBeingCreated"), Class::State),
        (reboot(), 409, None, Some("NodeBeingRebooted"), Class::State),
        (create(), 409, None, Some("JobBeingDeleted"), Class::State),
        (put(), 409, None, Some("JobBeingDeleted"), Class::Permanent),
        (create(), 409, None, Some("ActiveJobAndScheduleQuotaReached"), Class::Quota),
        (create(), 409, None, Some("PoolQuotaReached"), Class::Quota),
        (create(), 409, Some(1), Some("JobExists"), Class::Permanent),
        (put(), 409, None, None, Class::Permanent),
        (get(), 400, None, Some("InvalidQueryParameterValue"), Class::Permanent),
        (get(), 401, None, None, Class::Permanent),
        (get(), 403, None, Some("AuthenticationFailed"), Class::Permanent),
        (get(), 404, None, Some("JobNotFound"), Class::Permanent),
        (put(), 412, None, Some("ConditionNotMet"), Class::Permanent),
        (get(), 404, None, Some("ServerBusy"), Class::Permanent),
    ] {
        assert_eq!(
            classify(&subject, &responded(status, hint, fault), &statuses(), Reading::Current),
            want,
            "{} {status} {fault:?}",
            subject.name()
        );
    }
}

#[test]
fn a_failure_has_the_class_of_what_may_have_been_sent() {
    use Failure::*;
    use Transmission::*;
    for (failure, transmission, want) in [
        (ConnectFailed, NotSent, Class::NotSent),
        (ConnectRefused, NotSent, Class::NotSent),
        (ConnectTimeout, NotSent, Class::NotSent),
        (ConnectionLost, NotSent, Class::NotSent),
        (DnsFailed, NotSent, Class::NotSent),
        (DnsNotFound, NotSent, Class::NotSent),
        (StaleConnection, NotSent, Class::NotSent),
        (TlsFailed, NotSent, Class::NotSent),
        (ConnectionLost, Unknown, Class::Transient),
        (ConnectionLost, Sent, Class::Transient),
        (ProtocolError, Sent, Class::Transient),
        (ResponseTimeout, Sent, Class::Transient),
        (Truncated, Sent, Class::Transient),
        (AddressProhibited, NotSent, Class::Permanent),
        (CertificateInvalid, NotSent, Class::Permanent),
        (RequestBody, Unknown, Class::Permanent),
    ] {
        let outcome = Outcome::Failed { failure, transmission };
        for subject in [get(), put(), reboot()] {
            assert_eq!(classify(&subject, &outcome, &statuses(), Reading::Current), want, "{failure:?} {transmission:?}");
        }
    }
}

#[test]
fn a_status_taken_from_the_list_is_permanent_and_one_added_is_transient() {
    let none: [StatusCode; 0] = [];
    for status in [408, 429, 500, 503] {
        assert_eq!(
            classify(&put(), &responded(status, Some(1), None), &none, Reading::Current),
            Class::Permanent,
            "{status}"
        );
    }
    assert_eq!(classify(&put(), &responded(404, None, None), &[StatusCode::NOT_FOUND], Reading::Current), Class::Transient);
}

/// Only a read, and only while what it asks for may not be seen yet.
#[test]
fn a_404_to_a_read_of_what_was_just_created_may_be_a_read_that_lags() {
    let head = Subject::of(&Method::HEAD, "/pools/p");
    for (subject, status, reading, want) in [
        (get(), 404, Reading::MayLag, Class::ReadLag),
        (head, 404, Reading::MayLag, Class::ReadLag),
        (get(), 404, Reading::Current, Class::Permanent),
        (put(), 404, Reading::MayLag, Class::Permanent),
        (get(), 410, Reading::MayLag, Class::Permanent),
        (get(), 503, Reading::MayLag, Class::Transient),
    ] {
        assert_eq!(classify(&subject, &responded(status, None, None), &statuses(), reading), want, "{status} {reading:?}");
    }
}
