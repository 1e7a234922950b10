//! What layers share whose only state is h: the same configuration and the same calls, for each type of layer.

/// The builder methods and sizes of a configuration whose field `layer` has the sizes and ways to run.
macro_rules! config_methods {
    ($config:ident, $layer:ident) => {
        impl $config {
            /// Sets which way the layer reads; see [`LstmConfig::direction`](crate::LstmConfig::direction).
            pub fn direction(self, direction: $crate::Direction) -> Self {
                Self { layer: self.layer.direction(direction) }
            }

            /// Demands an instruction set; see [`LstmConfig::isa`](crate::LstmConfig::isa).
            pub fn isa(self, isa: $crate::Isa) -> Self {
                Self { layer: self.layer.isa(isa) }
            }

            /// Demands a schedule; see [`LstmConfig::schedule`](crate::LstmConfig::schedule).
            pub fn schedule(self, schedule: $crate::Schedule) -> Self {
                Self { layer: self.layer.schedule(schedule) }
            }

            /// Demands what threads share; see [`LstmConfig::split`](crate::LstmConfig::split).
            pub fn split(self, split: $crate::Split) -> Self {
                Self { layer: self.layer.split(split) }
            }

            /// Sets how many threads a call may use.
            pub fn threads(self, threads: $crate::Threads) -> Self {
                Self { layer: self.layer.threads(threads) }
            }

            /// Limits what enters the activations to ±limit: ONNX's `clip`. Outside the gradient is zero.
            pub fn clip(self, limit: f32) -> Self {
                Self { layer: self.layer.clip($crate::Clip::onnx_runtime(limit)) }
            }

            /// Keeps a part of h in each step: h_t = (1 − rate) ∘ h̃_t + rate ∘ h_{t−1}; a call may give
            /// [shares](crate::Forward::hidden_share) of its own. See
            /// [`LstmConfig::zoneout`](crate::LstmConfig::zoneout).
            pub fn zoneout(self, rate: f32) -> Self {
                Self { layer: self.layer.zoneout($crate::Zoneout { hidden: rate, cell: 0.0 }) }
            }

            /// Lets calls mask h on its way into the gates: see
            /// [`Forward::recurrent_mask`](crate::Forward::recurrent_mask).
            pub fn recurrent_dropout(self) -> Self {
                Self { layer: self.layer.recurrent_dropout() }
            }

            #[doc = concat!("Prepares the layer for [`", stringify!($layer), "::backward`](crate::", stringify!($layer), "::backward).")]
            pub fn training(self) -> Self {
                Self { layer: self.layer.training() }
            }

            /// Parameters to begin training with, laid out as `parameters` says; see
            /// [`LstmConfig::initial_parameters`](crate::LstmConfig::initial_parameters).
            ///
            /// # Errors
            /// As there.
            pub fn initial_parameters(
                &self,
                initialization: &$crate::Initialization,
                seed: u64,
            ) -> Result<Vec<f32>, $crate::Error> {
                self.layer.initial_parameters(initialization, seed)
            }

            /// X, the number of input features.
            pub fn input_size(&self) -> usize {
                self.layer.input_size()
            }

            /// H, the number of hidden units.
            pub fn hidden_size(&self) -> usize {
                self.layer.hidden_size()
            }

            /// Elements of h: H, since there is no projection.
            pub fn output_size(&self) -> usize {
                self.layer.output_size()
            }

            /// Which way the layer reads.
            pub fn reading_direction(&self) -> $crate::Direction {
                self.layer.reading_direction()
            }

            /// Whether the layer is prepared for a backward pass.
            pub fn is_for_training(&self) -> bool {
                self.layer.is_for_training()
            }
        }
    };
}
pub(crate) use config_methods;

/// The calls of a layer with fields `config` and `layer`.
macro_rules! layer_methods {
    ($layer:ident, $config:ident, $weights:ident) => {
        impl $layer {
            /// Chooses the kernels and packs the weights, once.
            ///
            /// # Errors
            /// - [`Error::Dimension`](crate::Error::Dimension) if `weights` were checked against other sizes than
            ///   `config`'s,
            /// - [`Error::Missing`](crate::Error::Missing) or [`Error::Unexpected`](crate::Error::Unexpected) if
            ///   `weights` lack a normalization that `config` has, or have one,
            /// - [`Error::Value`](crate::Error::Value) if an option makes no sense,
            /// - [`Error::Unsupported`](crate::Error::Unsupported) if threads are to share units, and a step needs
            ///   whole rows,
            /// - [`Error::UnsupportedIsa`](crate::Error::UnsupportedIsa) or
            ///   [`Error::UnknownIsa`](crate::Error::UnknownIsa) if an instruction set is demanded that cannot be had,
            /// - [`Error::Overflow`](crate::Error::Overflow) if the packed weights could not be addressed.
            pub fn new(config: &$config, weights: &$weights<'_>) -> Result<Self, $crate::Error> {
                config.layer.check()?;
                weights.check(config)?;
                let mut layer = $crate::Lstm::empty(&config.layer)?;
                layer.replace_weights(|packed, packer| packed.pack_gates(packer, weights.gates()))?;
                Ok(Self { config: config.clone(), layer })
            }

            /// A layer of packed weights that `save_packed` wrote; see [`Lstm::from_packed`](crate::Lstm::from_packed).
            ///
            /// # Errors
            /// As there.
            pub fn from_packed(config: &$config, bytes: &[u8]) -> Result<Self, $crate::Error> {
                let layer = $crate::Lstm::from_packed(&config.layer, bytes)?;
                Ok(Self { config: config.clone(), layer })
            }

            /// Writes the packed weights to bytes; see [`Lstm::save_packed`](crate::Lstm::save_packed).
            ///
            /// # Errors
            /// As there.
            pub fn save_packed(&self, bytes: &mut [u8]) -> Result<(), $crate::Error> {
                self.layer.save_packed(bytes)
            }

            /// Bytes that `save_packed` writes.
            pub fn saved_packed_len(&self) -> usize {
                self.layer.saved_packed_len()
            }

            /// Replaces the weights, as after an optimizer's step; see [`Lstm::set_weights`](crate::Lstm::set_weights).
            ///
            /// # Errors
            /// As for the weights in `new`.
            pub fn set_weights(&mut self, weights: &$weights<'_>) -> Result<(), $crate::Error> {
                weights.check(&self.config)?;
                self.layer.replace_weights(|packed, packer| packed.pack_gates(packer, weights.gates()))
            }

            /// Writes all parameters to one buffer, as the configuration lays them out; see
            /// [`Lstm::read_parameters`](crate::Lstm::read_parameters).
            ///
            /// # Errors
            /// [`Error::Length`](crate::Error::Length) if the buffer has another length.
            pub fn read_parameters(&self, parameters: &mut [f32]) -> Result<(), $crate::Error> {
                self.layer.read_parameters(parameters)
            }

            /// The configuration.
            pub fn config(&self) -> &$config {
                &self.config
            }

            /// The instruction set in use.
            pub fn isa(&self) -> $crate::Isa {
                self.layer.isa()
            }

            /// Bytes of packed weights.
            pub fn packed_bytes(&self) -> usize {
                self.layer.packed_bytes()
            }

            /// How a call of this shape would run.
            pub fn plan(&self, steps: usize, batch: usize) -> $crate::Plan {
                self.layer.plan(steps, batch)
            }

            /// Scratch for calls with up to `batch` rows and any number of steps.
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if it could not be addressed.
            pub fn workspace(&self, batch: usize) -> Result<$crate::Workspace, $crate::Error> {
                self.layer.workspace(batch)
            }

            /// Makes sure that a workspace has room; see [`Lstm::reserve_workspace`](crate::Lstm::reserve_workspace).
            ///
            /// # Errors
            /// As there.
            pub fn reserve_workspace(
                &self,
                workspace: &mut $crate::Workspace,
                batch: usize,
            ) -> Result<(), $crate::Error> {
                self.layer.reserve_workspace(workspace, batch)
            }

            /// Bytes that a workspace for `batch` rows would own.
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if it could not be addressed.
            pub fn workspace_bytes(&self, batch: usize) -> Result<usize, $crate::Error> {
                self.layer.workspace_bytes(batch)
            }

            /// A state of zeros, h alone, for single steps.
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if it could not be addressed.
            pub fn state(&self, batch: usize) -> Result<$crate::State, $crate::Error> {
                self.layer.state(batch)
            }

            /// A tape for up to `steps` steps of up to `batch` rows, which keeps everything that the backward pass
            /// needs.
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if it could not be addressed.
            pub fn tape(&self, steps: usize, batch: usize) -> Result<$crate::Tape, $crate::Error> {
                self.layer.tape(steps, batch)
            }

            /// A tape that keeps h every `every` steps; see
            /// [`Lstm::checkpointed_tape`](crate::Lstm::checkpointed_tape).
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if it could not be addressed.
            pub fn checkpointed_tape(
                &self,
                steps: usize,
                batch: usize,
                every: Option<std::num::NonZeroUsize>,
            ) -> Result<$crate::Tape, $crate::Error> {
                self.layer.checkpointed_tape(steps, batch, every)
            }

            /// Makes sure that a tape has room; see [`Lstm::reserve_tape`](crate::Lstm::reserve_tape).
            ///
            /// # Errors
            /// As there.
            pub fn reserve_tape(
                &self,
                tape: &mut $crate::Tape,
                steps: usize,
                batch: usize,
            ) -> Result<(), $crate::Error> {
                self.layer.reserve_tape(tape, steps, batch)
            }

            /// Bytes that a tape would own.
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if they could not be addressed.
            pub fn tape_bytes(&self, steps: usize, batch: usize) -> Result<usize, $crate::Error> {
                self.layer.tape_bytes(steps, batch)
            }

            /// Bytes that a tape with checkpoints would own.
            ///
            /// # Errors
            /// [`Error::Overflow`](crate::Error::Overflow) if they could not be addressed.
            pub fn checkpointed_tape_bytes(
                &self,
                steps: usize,
                batch: usize,
                every: Option<std::num::NonZeroUsize>,
            ) -> Result<usize, $crate::Error> {
                self.layer.checkpointed_tape_bytes(steps, batch, every)
            }

            /// The backward pass from a tape that is only read; see [`Lstm::backward_of`](crate::Lstm::backward_of).
            ///
            /// # Errors
            /// As there.
            pub fn backward_of(
                &self,
                workspace: &mut $crate::Workspace,
                tape: &$crate::Tape,
                call: $crate::Backward<'_>,
            ) -> Result<(), $crate::Error> {
                self.layer.backward_of(workspace, tape, call)
            }

            /// Runs the whole sequence; see [`Lstm::forward`](crate::Lstm::forward).
            ///
            /// # Errors
            /// An [`Error`](crate::Error) that names the argument that does not fit; nothing has been written then.
            /// [`Error::Unexpected`](crate::Error::Unexpected) for a c.
            pub fn forward(
                &self,
                workspace: &mut $crate::Workspace,
                call: $crate::Forward<'_>,
            ) -> Result<(), $crate::Error> {
                self.layer.forward(workspace, call)
            }

            /// Runs one time step: reads x, `[B, X]`, and advances h of `state`; see [`Lstm::step`](crate::Lstm::step).
            ///
            /// # Errors
            /// An [`Error`](crate::Error) that names the argument that does not fit; nothing has been written then.
            pub fn step(
                &self,
                state: &mut $crate::State,
                input: $crate::Matrix<'_>,
            ) -> Result<(), $crate::Error> {
                self.layer.step(state, input)
            }

            /// A table of W·x + b for each row x of a matrix, `[N, X]`; see [`Lstm::table`](crate::Lstm::table).
            ///
            /// # Errors
            /// As there.
            pub fn table(&self, inputs: $crate::Matrix<'_>) -> Result<$crate::InputTable, $crate::Error> {
                self.layer.table(inputs)
            }

            /// Runs one time step that starts from an entry of a table for each row, `[B]`; see
            /// [`Lstm::step_of_table`](crate::Lstm::step_of_table).
            ///
            /// # Errors
            /// As there.
            pub fn step_of_table<'i>(
                &self,
                state: &mut $crate::State,
                table: &$crate::InputTable,
                indices: impl Into<$crate::Indices<'i>>,
            ) -> Result<(), $crate::Error> {
                self.layer.step_of_table(state, table, indices)
            }

            /// Runs one time step that starts from W·x of each row, as [`Forward::of_sums`](crate::Forward::of_sums)
            /// has them; see [`Lstm::step_of_sums`](crate::Lstm::step_of_sums).
            ///
            /// # Errors
            /// As there.
            pub fn step_of_sums(
                &self,
                state: &mut $crate::State,
                sums: $crate::Matrix<'_>,
            ) -> Result<(), $crate::Error> {
                self.layer.step_of_sums(state, sums)
            }
        }
    };
}
pub(crate) use layer_methods;
