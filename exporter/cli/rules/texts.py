"""The parts of the alerts' texts that several alerts share: templates of Prometheus."""

TYPE = "{{ $labels.task_type }}"
NAME = "{{ $labels.transform_name }}"
TRANSFORM = f"{NAME} ({{{{ $labels.transform_id }}}}, {{{{ $labels.aws_account }}}} {{{{ $labels.aws_region }}}})"
INSTANCE = "{{ $labels.instance }}"
JOB = "{{ $labels.job }}"
LANE = "{{ $labels.aws_account }} {{ $labels.aws_region }}"
COUNT = '{{ $value | printf "%.0f" }}'
DURATION = "{{ $value | humanizeDuration }}"
PERCENTAGE = "{{ $value | humanizePercentage }}"
