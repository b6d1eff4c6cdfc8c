;;; demo.el --- A throwaway Gnus that mailsync watches  -*- lexical-binding: t -*-

;;; Commentary:

;; Run by demo.sh, which sets the environment.  A feeder delivers messages; `demo--arrived', on
;; `mailsync-new-mail-functions', says what mailsync did about each.  Only mailsync's public names
;; are used here: what stands in `demo' is what a user writes.

;;; Code:

(require 'cl-lib)
(require 'mailsync)
(require 'gnus)
(require 'gnus-group)

(declare-function fixture-start "../fixtures/gnus-init" (&rest groups))

(defvar demo--pending nil
  "The times of the deliveries nobody has seen yet: (GROUP . TIME), oldest first.")
(defvar demo--delivered 0 "How many messages were delivered.")
(defvar demo--seen 0 "How many of them mailsync brought to Gnus.")
(defvar demo--delays nil "How many milliseconds each took.")
(defvar demo--last "" "What arrived last, for the header line.")
(defvar demo--feeder nil "The process that delivers.")

(defun demo--project-file (name)
  "The file NAME of the project."
  (expand-file-name name (getenv "DEMO_PROJECT")))

(defun demo--number (variable default)
  "The number that the environment has in VARIABLE, or DEFAULT."
  (let ((value (getenv variable)))
    (if (member value '(nil "")) default (string-to-number value))))

(defun demo--group (name)
  "The Gnus group of the folder NAME."
  (concat (getenv "DEMO_METHOD") ":" name))

(defun demo--names ()
  "The names of the folders."
  (directory-files (getenv "DEMO_SERVER") nil directory-files-no-dot-files-regexp))

(defun demo--arrived (_account changes)
  "Tell which groups have new mail, by CHANGES."
  ;; What the feeder said before it delivered them may still wait to be read.
  (accept-process-output demo--feeder 0 nil t)
  (dolist (change changes)
    (pcase-dolist (`(,group ,old ,new) (plist-get change :groups))
      (dotimes (_ (- new old))
        (let* ((delivery (assoc group demo--pending))
               (delay (and delivery (round (* 1000 (- (float-time) (cdr delivery))))))
               (text (format "%-14s %3d -> %-3d after %s ms" (gnus-group-real-name group)
                             old new (or delay "?"))))
          (setq demo--pending (delq delivery demo--pending)
                demo--last (format "%s %d -> %d, %s ms" (gnus-group-real-name group) old new delay))
          (cl-incf demo--seen)
          (when delay (push delay demo--delays))
          (if noninteractive
              (message "%s" text)
            (force-mode-line-update t)))))))

(defun demo--feed (interval count &rest more)
  "Deliver COUNT messages (0: no end), INTERVAL seconds apart.
MORE are further arguments of the feeder."
  (setq demo--feeder
        (make-process
         :name "demo-feeder" :noquery t :connection-type 'pipe
         :command `("python3" ,(demo--project-file "test/demo/feeder.py") ,(getenv "DEMO_SERVER")
                    "--interval" ,(number-to-string interval) "--count" ,(number-to-string count)
                    ,@more)
         :filter (let ((rest ""))
                   (lambda (_process text)
                     (let ((lines (split-string (concat rest text) "\n")))
                       (setq rest (car (last lines)))
                       (dolist (line (butlast lines))
                         (when (string-match "\\`\\([0-9.]+\\) \\(.+\\)" line)
                           (cl-incf demo--delivered)
                           (setq demo--pending
                                 (append demo--pending
                                         (list (cons (demo--group (match-string 2 line))
                                                     (string-to-number (match-string 1 line))))))))))))))

(defun demo--wait (seconds until)
  "Wait until UNTIL answers non-nil, or for SECONDS.  Return its answer."
  (let ((deadline (time-add nil seconds))
        done)
    (while (not (or (setq done (funcall until))
                    (time-less-p deadline nil)))
      (accept-process-output nil 0.05))
    done))

(defun demo--check (condition format &rest arguments)
  "Unless CONDITION, say FORMAT with ARGUMENTS and exit."
  (unless condition
    (message "FAILED: %s" (apply #'format format arguments))
    (kill-emacs 1)))

(defun demo--transcript ()
  "Let messages arrive and exit 0 only if each count rose, and by mailsync alone."
  (let* ((count (demo--number "DEMO_MESSAGES" 10))
         (interval (demo--number "DEMO_INTERVAL" 0.5))
         (total (lambda () (apply #'+ (mapcar (lambda (name) (gnus-group-unread (demo--group name)))
                                              (demo--names)))))
         (before (funcall total)))
    (message "%d messages, one every %s s, Gnus's own polling off; %d unread before" count interval before)
    (demo--feed interval count)
    (demo--wait (+ 15 (* count (+ interval 0.1)))
                (lambda () (and (= demo--delivered count) (>= demo--seen count))))
    (let ((after (funcall total)))
      (demo--check (= demo--delivered count) "%d of %d messages were delivered" demo--delivered count)
      (demo--check (= demo--seen count) "mailsync brought %d of %d messages" demo--seen count)
      (demo--check (null demo--pending) "not seen: %S" demo--pending)
      (demo--check (= after (+ before count)) "%d unread, not %d" after (+ before count)))
    ;; Was it mailsync?  Without it nothing rises.
    (mailsync-mode -1)
    (let* ((name (car (demo--names)))
           (group (demo--group name))
           (old (gnus-group-unread group)))
      (demo--feed 0 1 "--only" name)
      (demo--wait 2 (lambda () (/= old (gnus-group-unread group))))
      (demo--check (= demo--delivered (1+ count)) "the last message was not delivered")
      (demo--check (= old (gnus-group-unread group)) "a count rose without mailsync")
      (message "%-14s %3d -> %-3d after 2000 ms with mailsync off" name old (gnus-group-unread group)))
    (setq demo--delays (sort demo--delays #'<))
    (message "%d of %d counts rose through mailsync; median %d ms, longest %d ms" demo--seen count
             (nth (/ (length demo--delays) 2) demo--delays) (car (last demo--delays)))
    (kill-emacs 0)))

(defun demo ()
  "Start the demo."
  (setq inhibit-startup-screen t)
  (when noninteractive
    (setq gnus-verbose 0 gnus-verbose-backends 0))
  (load (demo--project-file "test/fixtures/gnus-init") nil t)
  ;; The three lines that a user needs, and one for this show.
  (setq mailsync-accounts `(("demo" :maildir ,(getenv "DEMO_STORE"))))
  (mailsync-mode 1)
  (add-hook 'mailsync-new-mail-functions #'demo--arrived)
  (apply #'fixture-start (mapcar #'demo--group (demo--names)))
  (if noninteractive
      (demo--transcript)
    (switch-to-buffer gnus-group-buffer)
    (delete-other-windows)
    (let ((interval (demo--number "DEMO_INTERVAL" 3)))
      (setq header-line-format
            `(,(format " mailsync demo: mail every %s s, C-x C-c ends it  " interval)
              (:eval (propertize demo--last 'face 'bold))))
      (demo--feed interval (demo--number "DEMO_MESSAGES" 0)))))

(provide 'demo)
;;; demo.el ends here
