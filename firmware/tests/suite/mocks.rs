//! A line in memory and pins whose levels can be read; the tests of host and board share them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use embedded_hal::digital::OutputPin;
use embedded_hal::pwm::SetDutyCycle;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

/// Both directions of a line.
#[derive(Clone, Default)]
pub struct Line {
    pub to_board: Rc<RefCell<VecDeque<u8>>>,
    pub to_host: Rc<RefCell<VecDeque<u8>>>,
}

impl ErrorType for Line {
    type Error = std::convert::Infallible;
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(!self.to_board.borrow().is_empty())
    }
}

impl Read for Line {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        let mut line = self.to_board.borrow_mut();
        let n = bytes.len().min(line.len());
        for (byte, read) in bytes.iter_mut().zip(line.drain(..n)) {
            *byte = read;
        }
        Ok(n)
    }
}

impl WriteReady for Line {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.to_host.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A pin whose level others can read, even from another thread; the servo's level is its duty.
#[derive(Clone, Default)]
pub struct Wire {
    level: Arc<AtomicU16>,
    stuck: Arc<AtomicU32>,
}

/// A pin that could not be set.
#[derive(Debug)]
pub struct Stuck;

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the pin is stuck")
    }
}

impl Wire {
    pub fn level(&self) -> u16 {
        self.level.load(Ordering::SeqCst)
    }

    /// The next so many attempts to set it fail and change nothing.
    pub fn stick(&self, times: u32) {
        self.stuck.store(times, Ordering::SeqCst);
    }

    fn set(&self, level: u16) -> Result<(), Stuck> {
        let is_stuck = self
            .stuck
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if is_stuck.is_ok() {
            return Err(Stuck);
        }
        self.level.store(level, Ordering::SeqCst);
        Ok(())
    }
}

impl embedded_hal::digital::Error for Stuck {
    fn kind(&self) -> embedded_hal::digital::ErrorKind {
        embedded_hal::digital::ErrorKind::Other
    }
}

impl embedded_hal::digital::ErrorType for Wire {
    type Error = Stuck;
}

impl OutputPin for Wire {
    fn set_low(&mut self) -> Result<(), Stuck> {
        self.set(0)
    }
    fn set_high(&mut self) -> Result<(), Stuck> {
        self.set(1)
    }
}

impl embedded_hal::pwm::Error for Stuck {
    fn kind(&self) -> embedded_hal::pwm::ErrorKind {
        embedded_hal::pwm::ErrorKind::Other
    }
}

impl embedded_hal::pwm::ErrorType for Wire {
    type Error = Stuck;
}

impl SetDutyCycle for Wire {
    fn max_duty_cycle(&self) -> u16 {
        20_000
    }
    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Stuck> {
        self.set(duty)
    }
}
