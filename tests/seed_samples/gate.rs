//! The gate's crate: its README's sample, and what its documentation calls.

use leverframe::{GateReason, GateResult, Policy, SafeModeStrategy, WaitState, WaitStateConfig, gate};

#[test]
fn the_gate_is_called_as_its_crate_is() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut ws = WaitState::start(WaitStateConfig {
            publish_key: "pk_live".into(),
            secret_key: "sk_live".into(),
            base_url: "http://127.0.0.1:9".to_string(),
            site_id: Some("checkout".into()),
            pulse_interval_secs: 20,
            safe_mode_strategy: SafeModeStrategy::FixedRps,
            safe_mode_max_rps: 50,
            ..Default::default()
        });

        let result: GateResult = ws.gate(Some("checkout"), Some(1.0));
        if result.allowed {
            ws.report_latency(42.0, Some("checkout"));
        } else {
            panic!("denied: {}", result.reason);
        }
        ws.report("queue_depth", 15.0, Some("checkout"));
        ws.report_error(None);
        assert!(!ws.instance_id().is_empty());
        assert_eq!(ws.config().site_id.as_deref(), Some("checkout"));

        ws.set_policy(Policy { kill_signal: true, ..Default::default() });
        assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);
        stop(&mut ws);
    });
    fn stop(ws: &mut WaitState) {
        ws.shutdown();
    }

    let result = gate(&Policy::default(), Some("api"), None);
    assert!(result.allowed && result.reason == GateReason::Allowed);
    assert!(leverframe::gate::types::is_valid_metric_name("queue_depth"));
    assert_eq!(leverframe::gate::types::HISTOGRAM_BOUNDS[7], 10_000);
    assert_eq!(leverframe::gate::signing::sign_pulse("hello world", "1234", "key").len(), 64);
}
